"""The step's forward pass and optimizer on tensors of a GPU that is not there: how many kernels, and nothing that waits."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there
from toy_step import OPTIMIZERS, batch, everything, group, made, table, there
from toy_training import CPU
from toy_two_processes import Remembering

from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step.changing import finite
from tlkit.engine.step.counting import Counted
from tlkit.engine.step.step import Step
from tlkit.record.formats import ComputeFormat

# Of the toy: three convolutions and norms, a head; a loss, sums, and whether it is finite.
MOST_FORWARD = 90
MOST_BACKWARD = 120
MOST_OPTIMIZER = 45


@pytest.mark.parametrize("images", [8, 64])
def test_the_forward_pass_takes_as_many_kernels_for_any_batch_and_waits_for_nothing(toy_recipe: Path, images: int) -> None:
    network, plan = made(toy_recipe, "optimizer.clip_norm=1.0")
    plan = replace(plan, class_weights=(1.0, 2.0, 1.0, 1.0))  # they lie on the GPU as well
    with on_a_gpu_that_is_not_there():
        step = there(network, plan)
        x, y = torch.empty(images, 3, 16, 16, device=FAKE), torch.zeros(images, dtype=torch.int64, device=FAKE)
        with Operators() as operators, torch.no_grad():
            found = step._losses.of(
                (x, y), Whole((images,), (images,)), 0, Counted(images), synced=False, start=0, aux_heads={}
            )
            step._add_(0, found, images, here=True)
    assert (operators.reads, operators.uploads) == ([], 0)
    assert len(operators.kernels) <= MOST_FORWARD


def test_a_step_of_several_processes_copies_nothing_from_the_host(toy_recipe: Path) -> None:
    """A graph that is captured may not: neither the parts of processes in BatchNorm's statistics nor the predictions that count."""
    network, plan = made(toy_recipe)
    whole = Whole((16,), (8,))
    with on_a_gpu_that_is_not_there():
        step = there(network, plan, Remembering())
        assert step._reduction is not None
        x, y = torch.empty(8, 3, 16, 16, device=FAKE), torch.zeros(8, dtype=torch.int64, device=FAKE)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        with Operators() as operators:  # with gradients: else torch normalises
            found = step._losses.of((x, y), whole, 0, Counted(8), synced=True, start=0, aux_heads={})
            step._add_(0, found, 8, here=True)
            step._reduction.sum_(whole, synced=True)
    assert operators.kernels.count("var_mean") == 3
    assert (operators.reads, operators.uploads) == ([], 0)


@pytest.mark.parametrize("more", [(), ("clip_norm=0.1", "ema=0.99")], ids=["plain", "all"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_takes_few_kernels_and_waits_for_nothing(toy_recipe: Path, optimizer: str, more: tuple[str, ...]) -> None:
    network, plan = made(toy_recipe, table(optimizer, *more))
    with on_a_gpu_that_is_not_there():
        step = there(network, plan)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        with Operators():
            step.optimizer.step()  # the first one makes the optimizer's state
        with Operators() as operators:
            step._clip_(step._sums.known())
            step.optimizer.step()
            if step.average is not None:
                step.average.update_()
    assert (operators.reads, operators.uploads) == ([], 0)
    assert len(operators.kernels) <= MOST_OPTIMIZER, operators.kernels


def test_a_step_in_float16_asks_the_device_for_no_number(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether gradients overflow, the optimizer and the scale of the loss learn on the device alone."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    network, plan = made(toy_recipe, table("adamw", "clip_norm=0.1"), compute_format=ComputeFormat("float16"))
    with on_a_gpu_that_is_not_there():
        step = there(network, plan)
        scale = step._loss_scale
        assert scale is not None
        x, y = torch.empty(8, 3, 16, 16, device=FAKE), torch.zeros(8, dtype=torch.int64, device=FAKE)
        with Operators() as forward, torch.no_grad():
            found = step._losses.of((x, y), Whole((8,), (8,)), 0, Counted(8), synced=False, start=0, aux_heads={})
            assert step._scaled(found.part).dtype == torch.float32
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        with Operators():
            scale.step(step.optimizer)  # the first one makes the optimizer's state
        with Operators() as operators:
            scale.unscale_([p.grad for _, p in step._members if p.grad is not None])
            step._clip_(step._sums.known())
            scale.step(step.optimizer)
    assert (forward.reads, forward.uploads, operators.reads, operators.uploads) == ([], 0, [], 0)
    assert len(operators.kernels) <= MOST_OPTIMIZER, operators.kernels


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_whole_step_takes_as_many_operators_for_any_batch_and_reads_nothing(toy_recipe: Path, accumulate: int) -> None:
    """Backward cannot run on tensors without values, so this one is on the CPU, in the form that a graph captures."""
    counts = []
    for images in (8, 16):
        network, plan = made(toy_recipe, table("adamw", f"accumulate={accumulate}", "ema=0.9", "clip_norm=1.0"))
        step = Step(network, replace(plan, batch_size=images), CPU, static=True)
        step.begin_(1)
        step.set_rates_(1.0)
        step(group(network, plan))  # the first one makes the optimizer's state
        batches = [batch(network, plan, images=images, seed=at) for at in range(accumulate)]
        with Operators() as operators:
            step(batches)
        assert operators.reads == []
        counts.append(len(operators.kernels))
    assert counts[0] == counts[1]
    assert counts[0] <= accumulate * (MOST_FORWARD + MOST_BACKWARD) + 2 * MOST_OPTIMIZER


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_a_step_keeps_lies_on_its_device_in_its_own_types_whatever_torch_makes_by_default(
    toy_recipe: Path, optimizer: str
) -> None:
    network, plan = made(toy_recipe, table(optimizer, "ema=0.9"), compute_format=ComputeFormat("float16"))
    expected = {name: tensor.dtype for name, tensor in everything(Step(copy.deepcopy(network), plan, CPU)).items()}
    torch.set_default_dtype(torch.float64)
    try:
        with on_a_gpu_that_is_not_there():
            step = there(network, plan, Remembering())
            found = everything(step)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {name: tensor.dtype for name, tensor in found.items()} == expected
    assert {tensor.device for tensor in found.values()} == {step._reduction._counted.device} == {FAKE}
    assert all(group["fused"] for group in step.optimizer.param_groups)


def test_whether_all_values_are_finite_takes_as_many_operators_for_any_number_of_tensors() -> None:
    most = torch.finfo(torch.float32).max
    sound = [
        torch.full((9,), most),
        torch.tensor(3),
        torch.tensor([-0.5], dtype=torch.bfloat16),
    ]  # a count of batches among them
    assert finite(sound)
    for value in (torch.nan, torch.inf, -torch.inf):
        assert not finite([*sound, torch.tensor([1.0, value])])
    counts = []
    for tensors in (2, 100):
        with on_a_gpu_that_is_not_there(), Operators() as operators:
            finite([torch.empty(5, device=FAKE) for _ in range(tensors)])
        counts.append(operators.kernels)
        assert operators.reads == []
    assert counts[0] == counts[1]
    assert len(counts[0]) <= 7


def test_a_loaded_state_lies_where_its_parameter_is(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, table("adamw"))
    step = Step(copy.deepcopy(network), plan, CPU)
    step.begin_(1)
    step([batch(network, plan)])
    saved = step.state()
    with on_a_gpu_that_is_not_there():
        step = there(network, plan)
        step.load_state_(saved)
        assert {tensor.device for tensor in step.state().values()} == {FAKE}
    assert step.state().keys() == saved.keys()


@pytest.mark.parametrize("static", [None, False, True])
def test_norms_are_kept_and_operators_strict_where_a_graph_may_be_captured_unless_told_otherwise(
    toy_recipe: Path, static: bool | None
) -> None:
    network, plan = made(toy_recipe)
    step = Step(network, plan, CPU, static=static)
    assert (step._sums.wants_norms(), step._repeatable is not None) == (bool(static), bool(static))
    with on_a_gpu_that_is_not_there():
        assert there(network, plan)._repeatable is not None
