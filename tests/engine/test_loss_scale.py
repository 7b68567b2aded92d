"""Training in float16: the scale of the loss is that of torch.amp.GradScaler, and a step that overflows changes nothing.

On the CPU, for which recipes refuse float16; what only a GPU can show is in test_cuda.py.
"""

import copy
import math
from pathlib import Path

import pytest
import torch
from test_capture import Recorder, capturing, eager, two_epochs
from torch import nn
from toy_step import LATE_STEM, addresses, assert_same, batch, copies, made, still, table, train
from toy_training import CPU

from tlkit.engine.step.graph import Captured
from tlkit.engine.step.host_reads import HostReads
from tlkit.engine.step.loss_scale import LossScale
from tlkit.engine.step.step import Step
from tlkit.record.formats import ComputeFormat

HALF = ComputeFormat("float16")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_in_float16_is_that_of_torchs_autocast_and_grad_scaler(toy_recipe: Path, optimizer: str) -> None:
    network, plan = made(toy_recipe, table(optimizer, "clip_norm=0.1"), compute_format=HALF)
    still(network)
    plain = copy.deepcopy(network)
    step = Step(network, plan, CPU)
    step.begin_(1)
    step.set_rates_(1.0)
    other = Step(plain, plan, CPU)  # for its optimizer
    other.begin_(1)
    other.set_rates_(1.0)
    scaler = torch.amp.GradScaler("cpu")
    for seed in range(4):
        x, labels = batch(network, plan, seed=seed)
        step([(x, labels)])
        other.optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            logits = plain(x)
        scaler.scale(nn.functional.cross_entropy(logits.float(), labels)).backward()
        scaler.unscale_(other.optimizer)
        nn.utils.clip_grad_norm_([p for p in plain.parameters() if p.grad is not None], 0.1)
        scaler.step(other.optimizer)
        scaler.update()
    assert_same(copies(step) | {}, copies(other) | step._loss_scale.state())
    assert float(step._loss_scale._scale) == scaler.get_scale() == 2.0**16


def test_a_step_whose_gradients_overflow_is_not_taken_and_halves_the_scale(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("adamw"), compute_format=HALF)
    step = Step(network, plan, CPU)
    step.begin_(1)
    train(step, steps=2)
    before, scale = copies(step), step._loss_scale
    scale._scale.fill_(2.0**120)  # a gradient of 1e-3 times this is more than float16 holds, and so is what comes of it
    step([batch(network, plan)])
    after = copies(step)
    weights = [parameter.name for parameter in plan.parameters]
    assert weights
    assert all(torch.equal(after[name], before[name]) for name in after if name in weights or name.startswith("optimizer/"))
    assert (float(scale._scale), step.skipped(), step.sums().bad) == (2.0**119, 1, -1)
    scale._scale.fill_(2.0**10)
    step([batch(network, plan)])
    assert not all(torch.equal(copies(step)[name], before[name]) for name in weights)
    assert step.skipped() == 1
    step.begin_(2)
    assert step.skipped() == 0


def test_the_scale_doubles_after_two_thousand_steps() -> None:
    scale, weight = LossScale(CPU), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.0, fused=True)
    weight.grad = torch.ones(2)
    for _ in range(2000):
        scale.unscale_([weight.grad.fill_(1.0)])
        scale.step(optimizer)
    assert math.log2(float(scale._scale)) == 17


def test_a_captured_step_in_float16_has_the_bits_of_one_that_is_not_and_keeps_its_addresses(toy_recipe: Path) -> None:
    settings = (table("adamw", "clip_norm=0.1", "ema=0.99", "accumulate=2"), LATE_STEM, "head.options.dropout=0.3")
    captured, _, notes = capturing(toy_recipe, *settings, compute_format=HALF)
    plain = eager(toy_recipe, *settings, compute_format=HALF)
    for step in (captured, plain):
        two_epochs(step, steps=5)
    assert notes == []
    assert_same(copies(captured.step), copies(plain))
    before = addresses(captured.step)
    train(captured, steps=2, epoch=2)
    assert addresses(captured.step) == before


def test_no_step_in_float16_asks_the_device_for_a_number(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("sgd", "clip_norm=0.1"), compute_format=HALF)
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    train(step, steps=2)
    with HostReads() as reads:
        train(step, steps=1)
    assert reads.found == []


def test_a_checkpoint_holds_the_scale(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, compute_format=HALF)
    step = Step(network, plan, CPU)
    step.begin_(1)
    step._loss_scale._scale.fill_(8.0)
    train(step, steps=3)
    saved = {name: tensor.clone() for name, tensor in step.state().items()}
    later = Step(copy.deepcopy(network), plan, CPU)
    later.load_state_(saved)
    assert [float(each) for each in later._loss_scale.state().values()] == [8.0, 3.0]
    with pytest.raises(KeyError):
        later.load_state_({})


def test_a_capture_that_fails_within_a_step_in_float16_is_followed_by_whole_steps(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, compute_format=HALF)
    backend, notes = Recorder({0: RuntimeError("no")}), []
    captured = Captured(Step(network, plan, CPU, static=True), backend, note=notes.append)
    captured.begin_(1)
    train(captured, steps=6)
    assert (len(notes), captured.step.skipped(), captured.step.sums().bad) == (1, 0, -1)
