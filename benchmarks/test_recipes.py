"""Per-epoch speed of every recipe that ships, beside a plain PyTorch loop on the same work.

A round is one epoch of the plain loop and then the first two of a `tlkit.apply` with nothing stored: the first epoch reads the
pictures and fills the stores, the second reads them. extra_info holds what `benchmarks.track` keeps of the same work.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tlkit
from benchmarks import cases, pair
from benchmarks.cases import Case
from benchmarks.side import Side
from tlkit.compiler import shared_networks
from tlkit.recipe import parsing

QUICK = {"quickstart"}  # recipes whose benchmarks take seconds to run once
# Where benchmarks only have to run: images of each part at most, and operations of a plain loop's epoch.
UNTIMED, LEAST = 16, 5e10


def modes() -> list[str]:
    """Steps one by one, and on a GPU as a captured graph too."""
    import torch

    return ["eager", "captured"] if torch.cuda.is_available() else ["eager"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `test_recipe` every arm of every recipe; where nothing is timed, one of a kind, and of large networks only among slow tests."""
    if "case" not in metafunc.fixturenames:
        return
    every = cases.cases(metafunc.config.getoption("--bench-recipes"))
    if not metafunc.config.getoption("benchmark_enable"):
        quickest = sorted(of_each_recipe(every), key=lambda case: case.recipe.stem in QUICK)
        every = list({kind(case): case for case in quickest}.values())
    marks = [
        () if case.recipe.stem in QUICK or not metafunc.config.getoption("benchmark_disable") else pytest.mark.slow
        for case in every
    ]
    metafunc.parametrize(
        "case", [pytest.param(case, marks=mark, id=case.name) for case, mark in zip(every, marks, strict=True)]
    )


def of_each_recipe(every: Sequence[Case]) -> list[Case]:
    """The first arm of each recipe."""
    return list({case.recipe: case for case in reversed(every)}.values())[::-1]


def kind(case: Case) -> tuple[str, str, str]:
    """What the arms of recipes differ in that are trained here: their network, head and optimizer."""
    tables = parsing.read(case.recipe, ()).arms[case.arm]
    return tables.backbone.name, tables.head.kind, tables.optimizer.name


@pytest.mark.slow
def test_every_recipe_is_made_small(tmp_path: Path) -> None:
    with shared_networks.sharing():
        for case in of_each_recipe(cases.cases()):
            job = cases.make(case, tmp_path, images=UNTIMED, flops=LEAST, held=UNTIMED)
            assert job.trains, case.name


@pytest.mark.parametrize("mode", modes())
def test_recipe(case: Case, mode: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if benchmark.disabled:
        images = request.config.getoption("--bench-images") or UNTIMED
        with shared_networks.sharing():
            job = cases.make(case, tmp_path, images=images, flops=LEAST, held=UNTIMED)
            plan = tlkit.plan(job.recipe)["main"]  # a plan that is given is carried out as it is: nothing is measured first
            epoch = benchmark(lambda: next(tlkit.epochs(plan, offline=True)))
        assert math.isfinite(epoch.train["loss"])
        return
    images, rounds = request.config.getoption("--bench-images") or pair.IMAGES, request.config.getoption("--bench-rounds")
    job = cases.make(case, tmp_path, images=images, flops=pair.FLOPS)
    path = job.write(tmp_path / "job.json")
    with Side("plain", path, epochs=1) as plain, Side("tlkit", path, epochs=pair.EPOCHS, captured=mode == "captured") as ours:
        benchmark.pedantic(ours.round, setup=lambda: void(plain.round()), rounds=rounds, iterations=1)
    rates = request.getfixturevalue("rates")
    names = {"recipe": case.recipe.stem, "arm": case.arm, "mode": mode}
    benchmark.extra_info.update(names | pair.figures(job, plain.rounds, ours.rounds, rates))


def void(_: object) -> None:
    """Take a value and return nothing: what a setup returns would become the arguments of what is timed."""
