"""A step gives the same bits again where its operators can, and a run says which of them cannot."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_step import LATE_STEM, assert_same, copies, made, train
from toy_training import CPU

from tlkit.engine.step.repeatable import Repeatable
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


def test_an_operator_may_refuse_in_the_first_step_of_each_phase_alone(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, LATE_STEM, "schedule.epochs=3")
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    train(step, steps=1)
    refuse(network.stages["block1"])
    with pytest.raises(RuntimeError, match="toy_backward_cuda"):
        train(step, steps=1)
    step.begin_(2)
    train(step, steps=1, epoch=2)
    assert "toy_backward_cuda" in step.why_inexact


# What torch says -> the line of it that a run shows
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"{REFUSED}. You can also set it to warn.\nmore\nand more", "toy_backward_cuda does not have a deterministic implementation"),
        (
            "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or another setting, but this "
            "operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2\nTo enable it. Set a variable",
            "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or another setting, but this "
            "operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2",
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_one_line_without_advice_and_only_the_first_step_may_be_refused(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for a GPU's generator, which is put back together with what the step changed and the CPU's."""
    states = {"cuda:0": torch.zeros(1), "cuda:1": torch.ones(1)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[str(device)].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({str(device): state}))
    total, drawn, modes = torch.zeros(()), [], []

    def step() -> None:
        total.add_(1)
        drawn.append((float(torch.rand(())), float(states["cuda:1"])))
        states["cuda:1"] += 1
        modes.append(torch.get_deterministic_debug_mode())
        if modes[-1] == 2:
            raise RuntimeError(said)

    with pytest.raises(RuntimeError):
        Repeatable(torch.device("cuda:1"))(step, None)
    drawn.clear()
    total.zero_()
    repeatable = Repeatable(torch.device("cuda:1"))
    assert repeatable.refused == ""
    repeatable(step, {"total": total})
    assert drawn[0] == drawn[1]
    repeatable(step, None)
    assert (repeatable.refused, float(total), modes) == (told, 2.0, [2, 2, 0, 0])
