"""Test images are evaluated after every epoch, or once for the best epoch; the result is the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tlkit import api
from tlkit.engine.fit import Fit
from tlkit.plans import when_tested
from tlkit.plans.plan import ImagesPlan, PhasePlan, Plan
from tlkit.recipe.evaluation import Evaluation
from tlkit.record.formats import PrefixPlan, StorePlan, WhenTested

SETTINGS = (
    "schedule.epochs=4",
    "freeze={stem={epochs=2}}",
    "optimizer.ema=0.8",
    'also.other={name="synthetic", options={classes=4, test=12, size=16, noise=0.5}}',
)


@pytest.fixture
def applied(toy_recipe: Path, tmp_path: Path) -> Callable[..., Path]:
    """Apply the toy's recipe, and return the folder of its run."""

    def apply(when: str, *settings: str) -> Path:
        api.apply(toy_recipe, (f"evaluation.test={when}", *settings), runs=tmp_path / when)
        (folder,) = (path.parent for path in (tmp_path / when / "toy").glob("*/resolved.toml"))
        return folder

    return apply


def _lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_evaluating_once_gives_the_result_of_evaluating_in_every_epoch(applied: Callable[..., Path]) -> None:
    """With a mean of the weights, phases, and another data set."""
    every, end = (applied(when, *SETTINGS) for when in ("every", "end"))
    assert every.name == end.name, "it is in no digest"
    for name in ("evaluation.json", "weights.safetensors"):
        assert (every / name).read_bytes() == (end / name).read_bytes()
    theirs, mine = (json.loads((folder / "result.json").read_text()) for folder in (every, end))
    for key in ("test", "validation", "also", "best_epoch", "epochs"):
        assert theirs[key] == mine[key]
    assert mine["test"]
    assert mine["also"]["other"]
    assert all(line["test"] and line["also"] for line in _lines(every))
    assert [line["test"] for line in _lines(end)] == [None] * 4
    assert [line["validation"] for line in _lines(end)] == [line["validation"] for line in _lines(every)]
    texts = {element.text for element in ElementTree.parse(end.parent / "curves.svg").iter() if element.text}
    assert "validation" in texts
    assert "test" not in texts


def test_best_epoch_of_an_earlier_phase_is_tested_as_that_phase_was(applied: Callable[..., Path]) -> None:
    """The second phase ruins the network, so the best epoch is one whose whole backbone was a stored prefix."""
    settings = ("schedule.epochs=3", "freeze={backbone={epochs=2}}", "lr_groups={backbone=50.0, head=1e-2}")
    theirs, mine = (json.loads((applied(when, *settings) / "result.json").read_text()) for when in ("every", "end"))
    assert mine["best_epoch"] <= 2
    assert theirs["test"] == mine["test"]


@pytest.mark.parametrize("frozen", [(), ("freeze={stem=true, block1=true}",)])
def test_a_run_that_is_stopped_before_its_test_is_tested_later(
    applied: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, frozen: tuple[str, ...]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Fit, "evaluate_best", stop)
        with pytest.raises(KeyboardInterrupt):
            applied("end", *frozen)
    folder = applied("end", *frozen)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["test"] == json.loads((applied("every", *frozen) / "result.json").read_text())["test"]


def _plan(plan: Plan, *, train: int, test: int, also: int = 0) -> Plan:
    return replace(plan, images=ImagesPlan(train, 10, test, "counted", also={"other": also} if also else {}))


def test_auto_is_once_from_half_of_the_time_on(toy_recipe: Path) -> None:
    """An image that trains counts three forward passes, one that is evaluated one: 100 train and 10 are validated."""
    (plan,) = api.plan(toy_recipe, ("freeze={}",)).values()
    assert when_tested.decide([_plan(plan, train=100, test=309)]).when == "every"
    assert when_tested.decide([_plan(plan, train=100, test=310)]) == WhenTested(
        "end", "in every epoch it would take about 50% of the time"
    )
    assert when_tested.decide([_plan(plan, train=100, test=300, also=10)]).when == "end"
    assert when_tested.decide([_plan(plan, train=100, test=0)]).when == "every"
    both = [_plan(plan, train=100, test=310), _plan(plan, train=100, test=300)]
    assert when_tested.decide(both).when == "every", "all arms together count"


def test_a_stored_prefix_costs_nothing_to_evaluate(toy_recipe: Path) -> None:
    (plan,) = api.plan(toy_recipe, ("freeze={}",)).values()
    stages = tuple(replace(stage, flops=10) for stage in plan.stages)
    plan = replace(_plan(plan, train=100, test=400), stages=stages, flops_per_image=10 * len(stages))
    store = StorePlan(1, 8, 100, 0.0, "")
    first = PhasePlan(1, 2, (stages[0].name,), 1, 1, "", PrefixPlan(train=None, evaluation=store))
    seen = when_tested.decide([replace(plan, phases=(first,))])
    rest = 10 * (len(stages) - 1)
    expected = 400 * rest / (400 * rest + 100 * (3 * rest + 10) + 10 * rest)
    assert f"{expected:.0%}" in seen.reason


def test_the_recipe_says_or_it_was_decided_before(toy_recipe: Path) -> None:
    plans = list(api.plan(toy_recipe).values())
    kept = WhenTested("end", "kept")
    assert when_tested.asked(Evaluation(), kept, plans) == kept
    assert when_tested.asked(Evaluation(), None, plans).when == "every"
    assert when_tested.asked(Evaluation(test="every"), kept, plans) == WhenTested("every", "as the recipe says")


def test_the_plan_says_when_and_why(toy_recipe: Path) -> None:
    (plan,) = api.plan(toy_recipe, ("data.options.test=4000",)).values()
    (said,) = (choice for choice in plan.choices if choice.what == "test images are evaluated")
    assert plan.tested == "end"
    assert said.value == "once, for the best epoch"
    assert said.reason.startswith("in every epoch it would take about 9")
