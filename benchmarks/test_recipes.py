"""Per-epoch speed of every recipe that ships, beside a plain PyTorch loop on the same work.

A round is one epoch of the plain loop and then the first two of a `tlkit.apply` with nothing stored: the first epoch reads the
pictures and fills the stores, the second reads them. extra_info holds what `benchmarks.track` keeps.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tlkit
from benchmarks import cases
from benchmarks.cases import Case, Job
from benchmarks.side import Side
from tlkit.record import benchmarks

QUICK = {"quickstart", "photos", "resnet18_cifar"}  # recipes whose benchmarks take seconds to run once
EPOCHS = 2  # of a round: one that fills the stores, one that reads them
TIMED, UNTIMED = 512, 64  # training images, where --bench-images says nothing; the fewer where benchmarks only have to run
MOST, LEAST = 3e12, 5e11  # operations of a plain loop's epoch, about, in the same two cases: large networks have fewer images


def modes() -> list[str]:
    """Steps one by one, and on a GPU as a captured graph too."""
    import torch

    return ["eager", "captured"] if torch.cuda.is_available() else ["eager"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `test_recipe` every arm of every recipe; where nothing is timed, one arm of each, and of large networks only among slow tests."""
    if "case" not in metafunc.fixturenames:
        return
    every = cases.cases(metafunc.config.getoption("--bench-recipes"))
    if not metafunc.config.getoption("benchmark_enable"):
        every = list({case.recipe: case for case in reversed(every)}.values())
    marks = [
        () if case.recipe.stem in QUICK or not metafunc.config.getoption("benchmark_disable") else pytest.mark.slow
        for case in every
    ]
    metafunc.parametrize(
        "case", [pytest.param(case, marks=mark, id=case.name) for case, mark in zip(every, marks, strict=True)]
    )


@pytest.mark.parametrize("mode", modes())
def test_recipe(case: Case, mode: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if benchmark.disabled:
        images = request.config.getoption("--bench-images") or UNTIMED
        job = cases.make(case, tmp_path, images=images, flops=LEAST)
        plan = tlkit.plan(job.recipe)["main"]  # a plan that is given is carried out as it is: nothing is measured first
        epoch = benchmark(lambda: next(tlkit.epochs(plan, offline=True)))
        assert math.isfinite(epoch.train["loss"])
        return
    images, rounds = request.config.getoption("--bench-images") or TIMED, request.config.getoption("--bench-rounds")
    job = cases.make(case, tmp_path, images=images, flops=MOST)
    path = job.write(tmp_path / "job.json")
    with Side("plain", path, epochs=1) as plain, Side("tlkit", path, epochs=EPOCHS, captured=mode == "captured") as ours:
        benchmark.pedantic(ours.round, setup=lambda: void(plain.round()), rounds=rounds, iterations=1)
    rates = request.getfixturevalue("rates")
    names = {"recipe": case.recipe.stem, "arm": case.arm, "mode": mode}
    benchmark.extra_info.update(names | figures(job, plain.rounds, ours.rounds, rates))


def void(_: object) -> None:
    """Take a value and return nothing: what a setup returns would become the arguments of what is timed."""


def figures(
    job: Job, plain: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]], rates: dict[str, float]
) -> dict[str, Any]:
    """Return what the history keeps of a benchmark, from the rounds of both sides in the same order."""
    pairs = list(zip(plain, ours, strict=True))
    ratio, spread = benchmarks.centre(
        [benchmarks.run_ratio(plain=p["seconds"], first=o["first"], later=o["later"], epochs=job.epochs) for p, o in pairs]
    )
    epoch = statistics.median((o["first"] + (job.epochs - 1) * o["later"]) / job.epochs for o in ours)
    return {
        "images": job.train,
        "images_per_second": job.train / epoch,
        "ratio": ratio,
        "spread": spread,
        "first_ratio": statistics.median(p["seconds"] / o["first"] for p, o in pairs),
        "later_ratio": statistics.median(p["seconds"] / o["later"] for p, o in pairs),
        "epoch_seconds": epoch * job.scale,
        "peak_anonymous": max(o["peak_anonymous"] for o in ours),
        "share": {name: job.flops / epoch / rate for name, rate in rates.items()},
        "precision": ours[-1]["form"].get("precision", ""),
        "layout": ours[-1]["form"].get("layout", ""),
        "versions": ours[-1]["versions"],
        "threads": ours[-1]["threads"],
        "plain": {
            "images_per_second": job.train / statistics.median(p["seconds"] for p in plain),
            "peak_anonymous": max(p["peak_anonymous"] for p in plain),
        },
    }
