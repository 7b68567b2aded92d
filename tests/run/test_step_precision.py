"""A step in bfloat16 behind a fixed prefix in float32: against plain PyTorch, and the same wherever the network is evaluated."""

import copy
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_training import CPU, Training, training

from tlkit import api
from tlkit.compiler import timing
from tlkit.record import predictions, run_folder
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat
from tlkit.record.timings import Measurements, Timing
from tlkit.run import loading

LAST_STAGE = "freeze={stem=true, block1=true}"
HALF_LAST, WHOLE_LAST = ComputeFormat("bfloat16", "channels_last"), ComputeFormat("float32", "channels_last")


@pytest.fixture(autouse=True)
def _far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is twice as fast, and 4.6 % off float32: enough for a step, too much for a fixed prefix and for evaluation."""
    rows = tuple(
        Timing(each, 0.002 if each == HALF_LAST else 0.004, 0.046 if each.precision == "bfloat16" else 0.0)
        for each in COMPUTE_FORMATS
    )
    known = Measurements(rows, tuple((cut, rows) for cut in (1, 2, 3)), 0.0, "")
    monkeypatch.setattr(timing, "measure", lambda *_, **__: known)
    monkeypatch.setattr(timing, "WORTHWHILE", 0.0)
    monkeypatch.setattr(timing, "PAYS", 0.0)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)


@pytest.fixture
def mine(toy_recipe: Path) -> Training:
    return training(toy_recipe, LAST_STAGE)


def test_a_step_in_bfloat16_behind_a_prefix_in_float32_is_the_plain_computation(mine: Training) -> None:
    assert (mine.plan.compute_format, mine.plan.phases[0].fixed.compute_format.precision) == (HALF_LAST, "float32")
    plain, order = copy.deepcopy(mine.network), mine.prepared.train.order(0)
    x, targets = next(iter(mine.fit._feed_of(1).train(order, 0)))
    plain.eval()
    with torch.no_grad():
        expected = plain.run(mine.prepared.train.inputs(order[: len(x)], 0, CPU), stop=2)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)

    plain.stages["block2"].train()
    plain.head.train()
    torch.manual_seed(0)  # of dropout
    with torch.autocast("cpu", torch.bfloat16):
        logits = plain.finish(plain.run(x, start=2))
    loss = nn.functional.cross_entropy(logits.float(), targets)
    loss.backward()
    step = mine.fit._step
    step.begin_(1)
    step.set_rates_(0.0)
    seen: list[torch.dtype] = []
    handle = mine.network.stages["block2"].block2[0].register_forward_hook(lambda _, __, y: seen.append(y.dtype))
    torch.manual_seed(0)
    step([(x, targets)])
    handle.remove()
    assert seen == [torch.bfloat16]
    assert step.sums().loss / len(x) == pytest.approx(loss.item(), rel=1e-3)
    theirs = dict(plain.named_parameters())
    for name, parameter in mine.network.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=0.03, atol=2e-3)


def test_what_is_evaluated_while_training_is_the_network_in_float32(mine: Training) -> None:
    next(iter(mine.fit.epochs()))
    part = mine.prepared.evaluated.parts["test"]
    x = part.inputs(part.indices, 0, CPU)
    mine.network.eval()
    with torch.inference_mode():
        right = mine.network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = mine.network(x).float()
    found = mine.fit.predictions["test"].logits
    assert float((found - right).abs().max()) * 20 < float((rounded - right).abs().max())


def test_a_finished_run_and_its_prediction_agree(toy_recipe: Path) -> None:
    api.apply(toy_recipe, [LAST_STAGE, "schedule.epochs=1"], runs=toy_recipe.parent / "runs")
    (path,) = (toy_recipe.parent / "runs").rglob("resolved.toml")
    kept = tomllib.loads(path.read_text())
    form = {"precision": "bfloat16", "memory_format": "channels_last"}
    assert {key: kept[key] for key in form} == form
    assert kept["evaluation"] == {"precision": "float32", "memory_format": "channels_last"}
    assert [row["precision"] for row in kept["prefixes"]] == ["float32"]
    earlier = run_folder.earlier_choices(path.parent)
    assert (earlier.step, earlier.evaluation) == (HALF_LAST, WHOLE_LAST)
    mine = training(toy_recipe, LAST_STAGE)
    predictor = loading.load(path.parent, arm=None, device=CPU)
    part = mine.prepared.evaluated.parts["test"]
    with torch.inference_mode():
        right = predictor.network(part.inputs(part.indices, 0, CPU))
    found = predictions.load(path.parent).part("test").logits
    torch.testing.assert_close(torch.from_numpy(found), right, rtol=1e-4, atol=1e-4)


def test_a_recipe_that_asks_for_bfloat16_evaluates_in_it(toy_recipe: Path) -> None:
    plan = training(toy_recipe, LAST_STAGE, "precision=bfloat16").plan
    assert (plan.compute_format, plan.evaluation_format) == (HALF_LAST, None)
    assert plan.phases[0].fixed.compute_format == HALF_LAST
