"""All arms of a recipe run in one precision, decided once and kept beside its runs."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tlkit import api
from tlkit.compiler import timing
from tlkit.plans.plan import Plan
from tlkit.record.formats import COMPUTE_FORMATS
from tlkit.record.timings import Measurements, Timing

TWO_ARMS = """
[arms.everything]
freeze = {}
[arms.last]
freeze = { stem = true, block1 = true }
"""


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy is over long before measuring pays."""
    monkeypatch.setattr(timing, "WORTHWHILE", 0.0)
    monkeypatch.setattr(timing, "PAYS", 0.0)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds an image in bfloat16, of each arm; float32 takes 10 ms."""
    said: dict[str, float] = {}

    def measured(plan: Plan, *_: object, **__: object) -> Measurements:
        rows = tuple(Timing(each, 0.01 if each.precision == "float32" else said[plan.arm], 0.0) for each in COMPUTE_FORMATS)
        return Measurements(rows, tuple((cut, rows) for cut in (1, 2, 3)), 0.0, "")

    monkeypatch.setattr(timing, "measure", measured)
    return said


@pytest.fixture
def applied(toy_recipe: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Apply the toy's recipe with two arms, and return the precision of the training step of every run, by arm and seed."""

    toy_recipe.write_text(toy_recipe.read_text() + TWO_ARMS)

    def apply(*settings: str, arm: str | None = None) -> dict[str, str]:
        api.apply(toy_recipe, settings, arm=arm, runs=tmp_path / "runs")
        found = sorted((tmp_path / "runs" / "toy").glob("*/resolved.toml"))
        return {path.parent.name.rpartition("-")[0]: tomllib.loads(path.read_text())["precision"] for path in found}

    return apply


def test_arms_that_are_compared_run_in_one_precision(applied: Callable[..., dict[str, str]], speeds: dict[str, float]) -> None:
    """Alone, `last` would be faster in float32."""
    speeds.update(everything=0.001, last=0.0101)
    assert applied() == {"everything-s0": "bfloat16", "last-s0": "bfloat16"}


def test_what_was_decided_counts_for_an_arm_and_a_seed_that_come_later(
    applied: Callable[..., dict[str, str]], speeds: dict[str, float], toy_recipe: Path, tmp_path: Path
) -> None:
    speeds.update(everything=0.02, last=0.001)
    assert applied(arm="everything") == {"everything-s0": "float32"}
    (plan,) = api.plan(toy_recipe, arm="last", runs=tmp_path / "runs").values()
    (said,) = (choice for choice in plan.choices if choice.what == "training steps of all arms")
    assert said.value == "float32"
    assert said.reason.startswith("kept since this recipe was first applied: ")
    assert applied("seeds=[0, 1]") == dict.fromkeys(("everything-s0", "everything-s1", "last-s0", "last-s1"), "float32")


def test_a_short_arm_beside_a_long_one_is_measured_too(
    applied: Callable[..., dict[str, str]], speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "too_short", lambda plan, _: "it is short" if plan.arm == "last" else "")
    speeds.update(everything=0.005, last=0.005)
    assert set(applied().values()) == {"bfloat16"}


def test_where_every_arm_is_short_nothing_is_measured(
    applied: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "too_short", lambda *_: "it is short")
    assert set(applied().values()) == {"float32"}
