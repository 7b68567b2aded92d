"""A step gives the same bits again where its operators can, and a run says which of them cannot."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_step import assert_same, copies, made, train
from toy_training import CPU

from tlkit.engine.step.step import Step

REFUSED = (
    "toy_backward_cuda does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'. "
    "You can turn off determinism just for this operation"
)


class _Refusing(torch.autograd.Function):
    """An operator whose gradient torch refuses as it refuses a GPU's."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        if torch.get_deterministic_debug_mode() == 2:
            raise RuntimeError(REFUSED)
        return grad


def refuse(module: nn.Module) -> None:
    """Let a module's output pass through an operator that torch refuses."""
    module.register_forward_hook(lambda _, inputs, output: _Refusing.apply(output))


def test_a_step_of_a_gpu_takes_deterministic_operators_alone(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    seen: list[int] = []
    network.head.register_forward_pre_hook(lambda *_: seen.append(torch.get_deterministic_debug_mode()))
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    before = torch.get_deterministic_debug_mode()
    step([(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3]))])
    assert (seen, torch.get_deterministic_debug_mode(), step.why_inexact) == ([2], before, "")


def test_an_operator_that_refuses_leaves_no_trace_but_its_name(toy_recipe: Path) -> None:
    """The trial ran half of a step: batch norm, dropout and the sums are as if it had not."""
    settings = ("head.options.dropout=0.5",)
    network, plan = made(toy_recipe, *settings)
    other = copy.deepcopy(network)
    refuse(other.stages["block1"])
    steps = [Step(each, plan, CPU, static=True) for each in (network, other)]
    for step in steps:
        torch.manual_seed(0)
        for epoch in (1, 2):
            step.begin_(epoch)
            train(step, steps=2, epoch=epoch)
    plain, refusing = steps
    assert plain.why_inexact == ""
    assert refusing.why_inexact == "toy_backward_cuda does not have a deterministic implementation"
    assert_same(copies(refusing), copies(plain))
    assert refusing.sums() == plain.sums()


def test_another_error_is_no_refusal(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, plan = made(toy_recipe)
    refuse(network.stages["block1"])
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    monkeypatch.setattr("test_repeatable.REFUSED", "out of order")
    with pytest.raises(RuntimeError, match="out of order"):
        train(step, steps=1)
