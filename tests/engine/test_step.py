"""One optimizer step: what it asks of the device, and where its tensors lie."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_step import LATE_STEM, OPTIMIZERS, addresses, assert_same, batch, copies, group, made, table, train
from toy_training import CPU

from tlkit.engine.step.host_reads import HostReads
from tlkit.engine.step.step import Step
from tlkit.record.formats import ComputeFormat


@pytest.mark.parametrize(
    "compute_format", [ComputeFormat(), ComputeFormat("bfloat16", "channels_last")], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize(
    "more",
    [(), ("clip_norm=0.1",), ("ema=0.99",), ("accumulate=2",), ("clip_norm=0.1", "ema=0.99", "accumulate=2")],
    ids=["plain", "clip", "ema", "accumulate", "all"],
)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("static", [False, True], ids=["dropped", "static"])
def test_a_step_asks_the_device_for_nothing(
    toy_recipe: Path, optimizer: str, more: tuple[str, ...], compute_format: ComputeFormat, static: bool
) -> None:
    network, plan = made(toy_recipe, table(optimizer, *more), "head.options.dropout=0.3", compute_format=compute_format)
    step = Step(network, plan, CPU, static=static)
    step.begin_(1)
    groups = [group(network, plan, seed=at) for at in range(3)]
    for batches in groups:
        with HostReads() as reads:
            step(batches)
        assert reads.found == []


def test_soft_targets_and_a_bad_loss_ask_for_nothing_either(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, "loss.label_smoothing=0.1")
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    x, targets = batch(network, plan, soft=True)
    for value in (x, x * math.nan, x):
        with HostReads() as reads:
            step([(value, targets)])
        assert reads.found == []


@pytest.mark.parametrize(
    ("kind", "way", "reads"),
    [
        (torch.optim.SGD, {"fused": True}, 0),
        (torch.optim.SGD, {"foreach": True}, 1),
        (torch.optim.SGD, {"foreach": False}, 2),
        (torch.optim.Adam, {"fused": True}, 0),
        (torch.optim.Adam, {"foreach": False}, 4),
        (torch.optim.AdamW, {"fused": True}, 0),
        (torch.optim.AdamW, {"foreach": False}, 4),
    ],
)
def test_only_fused_optimizers_leave_a_rate_where_it_is(
    kind: Callable[..., torch.optim.Optimizer], way: dict, reads: int
) -> None:
    """What the table at `build_optimizer` says, for two parameters in one group."""
    parameters = [nn.Parameter(torch.randn(4)) for _ in range(2)]
    optimizer = kind(parameters, lr=0.1, **way)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
    for parameter in parameters:
        parameter.grad = torch.ones(4)
    optimizer.step()
    with HostReads() as watch:
        optimizer.step()
    assert len([name for name in watch.found if "_local_scalar_dense" in name]) == reads


def test_foreach_adam_refuses_a_rate_in_a_tensor() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.randn(4))], lr=0.1, foreach=True)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(4)
    with pytest.raises(RuntimeError, match="lr as a Tensor is not supported"):
        optimizer.step()


@pytest.mark.parametrize("more", [(), ("clip_norm=0.1", "ema=0.99", "accumulate=2")], ids=["plain", "all"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_address_is_the_same_at_every_step(toy_recipe: Path, optimizer: str, more: tuple[str, ...]) -> None:
    network, plan = made(toy_recipe, table(optimizer, *more), "schedule.epochs=3", LATE_STEM)
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    step.begin_(2)
    train(step, steps=1, epoch=2)
    before, values = addresses(step), copies(step)
    train(step, steps=2, epoch=2, first=1)  # other rates
    step.begin_(3)  # another epoch of the same phase
    train(step, steps=1, epoch=3, first=3)
    assert addresses(step) == before
    changed = {name for name, tensor in copies(step).items() if not torch.equal(tensor, values[name])}
    assert changed == set(values)


def test_gradients_are_dropped_and_not_set_to_zero(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("adamw", "ema=0.99"))
    step = Step(network, plan, CPU)
    step.begin_(1)
    train(step, steps=1)
    before = addresses(step)
    held = [p.grad for p in network.parameters()]  # so that no address comes back by chance
    train(step, steps=1, first=1)
    assert addresses(step) == before
    assert all(p.grad is not old for p, old in zip(network.parameters(), held, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_static_gradients_train_to_the_same_bits(toy_recipe: Path, optimizer: str) -> None:
    steps = []
    for static in (False, True):
        network, plan = made(toy_recipe, table(optimizer, "accumulate=2", "clip_norm=0.1"), LATE_STEM)
        step = Step(network, plan, CPU, static=static)
        torch.manual_seed(0)  # dropout
        for epoch in (1, 2):
            step.begin_(epoch)
            train(step, steps=3, epoch=epoch)
        steps.append(step)
    assert_same(copies(steps[1]), copies(steps[0]))


def test_a_parameter_that_the_loss_does_not_reach_is_named_and_stays(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("sgd"))
    network.head.register_parameter("aside", nn.Parameter(torch.ones(3)))
    aside = replace(next(p for p in plan.parameters if p.name == "head.bias"), name="head.aside", shape=(3,))
    plan = replace(plan, parameters=(*plan.parameters, aside))
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    train(step, steps=2)
    assert step.without_gradient() == ["head.aside"]
    assert torch.equal(network.head.aside, torch.ones(3)), "no weight decay either, as in plain PyTorch"
