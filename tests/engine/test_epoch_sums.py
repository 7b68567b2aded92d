"""The sums of an epoch by themselves: what is added, what is asked of them, and what they keep of the first bad step."""

import math

import pytest
import torch
from torch import Tensor
from toy_training import CPU

from tlkit.engine.ranks.reduction import Counted
from tlkit.engine.step.sums import EpochSums, Sums

GROUPS = ("head", "stem", "block1")


def made(*, static: bool = False) -> EpochSums:
    return EpochSums(CPU, GROUPS, static=static)


def add(sums: EpochSums, loss: float, *, counted: int | Tensor = 4, correct: int = 1, predictions: int | Tensor = 4) -> None:
    sums.add_(torch.tensor(loss), torch.tensor(loss), counted=counted, correct=torch.tensor(correct), predictions=predictions)


def values(sums: EpochSums) -> dict[str, object]:
    return {name.removeprefix("sums/"): tensor.tolist() for name, tensor in sums.state().items()}


def test_batches_count_by_their_images_and_auxiliary_losses_are_apart() -> None:
    sums = made()
    add(sums, 0.5, counted=4, correct=3)
    add(sums, 0.25, counted=torch.tensor(2.0, dtype=torch.float64), correct=2, predictions=torch.tensor(6))
    sums.add_aux_(torch.tensor(3.0), counted=4)
    sums.add_aux_(torch.tensor(1.0), counted=torch.tensor(2.0))
    assert sums.read(with_aux=True, trained=[0]) == Sums(4 * 0.5 + 2 * 0.25, 14.0, 5, 10, -1, {})
    assert sums.read(with_aux=False, trained=[0]).aux_loss is None
    assert sums.so_far().tolist() == [2.5, -1.0]
    expected = {"loss": 2.5, "aux_loss": 14.0, "correct": 5, "predictions": 10, "batches": 2, "bad": -1, "norms": [0.0] * 3}
    assert values(sums) == expected
    assert all(name.startswith("sums/") for name in sums.state())


def test_a_large_epoch_is_summed_in_float64() -> None:
    sums = made()
    add(sums, 2.0**24, counted=1)
    add(sums, 1.0, counted=1)
    assert sums.read(with_aux=False, trained=()).loss == 2**24 + 1


def test_batches_of_all_processes_are_added_and_one_that_is_bad_on_any_is_bad() -> None:
    sums = made()
    for bad in (0.0, 2.0, 1.0):
        sums.add_whole_(Counted(*torch.tensor([1.5, 0.5, 3.0, 4.0, bad], dtype=torch.float64)))
    assert sums.read(with_aux=True, trained=()) == Sums(4.5, 1.5, 9, 12, 1, {})


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("static", [False, True])
def test_the_first_bad_batch_stays_the_first_with_the_norms_of_its_step(first: int, static: bool) -> None:
    sums = made(static=static)
    for at in range(first + 3):
        known = sums.known()
        assert bool(known) == (at > first)
        add(sums, math.inf if at in (first, first + 2) else 1.0)
        assert sums.wants_norms() == (static or at >= first), "on the CPU norms are left out as long as nobody reads them"
        if sums.wants_norms():  # two gradients of the last group, one of the first, none of the second
            sums.keep_norms_(known, [2, 0, 2], [torch.tensor(3.0 + at - first), torch.tensor(float(at)), torch.tensor(4.0)])
    found = sums.read(with_aux=False, trained=[2, 0, 2])
    assert (found.bad, found.norms) == (first, {"head": float(first), "block1": 5.0})
    assert list(found.norms) == ["head", "block1"]
    assert sums.read(with_aux=False, trained=[1]).norms == {"stem": 0.0}
    sums.clear_()
    assert values(sums) == values(made())
    assert not sums.known()
