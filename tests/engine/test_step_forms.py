"""A step's precision and memory format, and its state, whose strides a checkpoint does not keep."""

import copy
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_step import LATE_STEM, OPTIMIZERS, addresses, assert_same, batch, copies, everything, made, still, table, train
from toy_training import CPU

from tlkit.engine.step.step import Step
from tlkit.record.formats import ComputeFormat


def test_bfloat16_is_autocast_with_the_loss_in_float32(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("plain sgd"), compute_format=ComputeFormat("bfloat16"))
    still(network)
    twin = copy.deepcopy(network).train()
    step = Step(network, plan, CPU)
    step.begin_(1)
    step.set_rates_(1.0)
    x, labels = batch(network, plan)
    with torch.autocast("cpu", torch.bfloat16):
        logits = twin(x)
    assert logits.dtype == torch.bfloat16
    loss = nn.functional.cross_entropy(logits.float(), labels)
    loss.backward()
    step([(x, labels)])
    assert step.sums().loss == pytest.approx(float(loss.detach()) * 16)
    expected = twin.head.weight.detach() - 2e-2 * twin.head.weight.grad
    torch.testing.assert_close(network.head.weight.detach(), expected, rtol=0, atol=1e-7)
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert {tensor.grad.dtype for tensor in network.parameters()} == {torch.float32}


def test_a_bfloat16_feature_map_is_trained_on(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, "freeze={stem=true}", compute_format=ComputeFormat("bfloat16"))
    step = Step(network, plan, CPU)
    step.begin_(1)
    x, labels = batch(network, plan)
    step([(x.bfloat16(), labels)])
    assert math.isfinite(step.sums().loss)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_channels_last_trains_as_contiguous_does(toy_recipe: Path, optimizer: str) -> None:
    steps = []
    for layout in ("contiguous", "channels_last"):
        network, plan = made(toy_recipe, table(optimizer, "ema=0.9"), compute_format=ComputeFormat(layout=layout))
        still(network)
        step = Step(network, plan, CPU)
        step.begin_(1)
        train(step, steps=3)
        steps.append(step)
    torch.testing.assert_close(copies(steps[1]), copies(steps[0]), rtol=1e-3, atol=1e-4)
    weight = steps[1].network.stages["block1"].block1[0].weight
    assert weight.stride() != weight.contiguous().stride()
    kept = [tensor for name, tensor in steps[1].state().items() if "block1.0.weight" in name and tensor.ndim]
    assert all(tensor.stride() == weight.stride() for tensor in (*kept, weight.grad))


def test_the_network_is_put_into_the_plans_memory_format(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    held = list(network.parameters())
    for layout, memory in (("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)):
        Step(network, replace(plan, compute_format=ComputeFormat(layout=layout)), CPU)
        weights = [tensor for tensor in network.parameters() if tensor.ndim == 4]
        assert len(weights) == 3
        assert all(tensor.is_contiguous(memory_format=memory) for tensor in weights)
    assert all(now is before for now, before in zip(network.parameters(), held, strict=True))


def test_a_convolution_of_one_pixel_trains_in_channels_last_as_in_contiguous(toy_recipe: Path) -> None:
    """Its strides are ambiguous, and the fused kernels look at none."""
    ends = []
    for layout in ("contiguous", "channels_last"):
        network, plan = made(toy_recipe, table("adamw"), compute_format=ComputeFormat(layout=layout))
        still(network)
        torch.manual_seed(0)
        network.stages["block1"].block1[0] = nn.Conv2d(8, 8, 1, bias=False)
        parameters = tuple(replace(p, shape=(8, 8, 1, 1)) if p.name == "block1.0.weight" else p for p in plan.parameters)
        step = Step(network, replace(plan, parameters=parameters), CPU)
        step.begin_(1)
        train(step, steps=3)
        ends.append(copies(step))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-4)


def continued(recipe: Path, setting: str, load: Callable[[Step, dict[str, Tensor]], None]) -> Iterator[Step]:
    """A channels-last step of three, and one that goes on after two from what a checkpoint holds, contiguous."""
    whole, part = (Step(*made(recipe, setting, compute_format=ComputeFormat(layout="channels_last")), CPU) for _ in range(2))
    for step in (whole, part):
        still(step.network)
        step.begin_(1)
    train(whole, steps=2)
    saved = {name: tensor.contiguous().clone() for name, tensor in {**whole.network.tensors(), **whole.state()}.items()}
    for name, tensor in part.network.tensors().items():
        tensor.copy_(saved[name])
    load(part, saved)
    for step in (whole, part):
        train(step, steps=1, first=2)
    yield from (whole, part)


@pytest.mark.parametrize("more", [(), ("ema=0.9",)], ids=["plain", "ema"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loaded_state_goes_on_to_the_same_bits(toy_recipe: Path, optimizer: str, more: tuple[str, ...]) -> None:
    whole, part = continued(toy_recipe, table(optimizer, *more), Step.load_state_)
    assert_same(copies(part), copies(whole))
    strides = {name: tensor.stride() for name, tensor in everything(whole).items()}
    assert {name: tensor.stride() for name, tensor in everything(part).items()} == strides


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_contiguous_state_beside_a_channels_last_weight_would_be_silently_wrong(toy_recipe: Path, optimizer: str) -> None:
    """Why `load_state_` keeps the parameters' strides: torch's fused kernels walk memory and check none."""

    def put(step: Step, saved: dict[str, Tensor]) -> None:
        for parameter, tensor in step.network.owned():
            prefix = f"optimizer/{parameter.name}/"
            step.optimizer.state[tensor] = {k.removeprefix(prefix): t for k, t in saved.items() if k.startswith(prefix)}

    whole, part = continued(toy_recipe, table(optimizer), put)
    wrong = part.network.tensors()["block1.0.weight"] - whole.network.tensors()["block1.0.weight"]
    assert wrong.abs().max() > 1e-5
    assert torch.equal(part.network.tensors()["head.bias"], whole.network.tensors()["head.bias"])


def test_loading_keeps_addresses_and_forgets_what_the_checkpoint_has_not(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("adamw", "ema=0.9"), LATE_STEM)
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    train(step, steps=1)
    saved, before = copies(step), addresses(step)
    assert not any("conv1" in name for name in saved if name.startswith("optimizer/"))
    step.begin_(2)
    train(step, steps=1, epoch=2)
    assert any("conv1" in name for name in step.state() if name.startswith("optimizer/"))
    step.load_state_(saved)
    assert step.state().keys() == {name for name in saved if name.startswith(("optimizer/", "ema/"))}
    assert {name: tensor.data_ptr() for name, tensor in step.state().items()}.items() <= before.items()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("optimizer/head.weight/exp_avg", "optimizer/head.weight/exp_avg is (16,), its parameter (4, 16)"),
        ("ema/head.weight", "ema/head.weight is (16,), not (4, 16)"),
    ],
)
def test_a_state_of_another_shape_is_refused(toy_recipe: Path, name: str, said: str) -> None:
    network, plan = made(toy_recipe, table("adamw", "ema=0.9"))
    step = Step(network, plan, CPU)
    step.begin_(1)
    train(step, steps=1)
    with pytest.raises(RuntimeError, match=f"^{re.escape(said)}$"):
        step.load_state_({**copies(step), name: torch.zeros(16)})
