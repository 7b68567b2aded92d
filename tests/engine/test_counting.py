"""What a batch counts in the mean of its step: numbers where a mean is over images, tensors on the device where it is over pixels."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from tlkit.engine.ranks.ranks import ALONE, Alone
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step.counting import counted

OVER_IMAGES = SimpleNamespace(counts=None)
OVER_PIXELS = SimpleNamespace(counts=torch.Tensor.sum)  # a target has a 1 for each pixel that counts


@dataclass(frozen=True)
class Beside(Alone):
    """A process beside another one, which adds what it has."""

    size: int = 2
    other: list[list[float]] = field(default_factory=list)

    def sum_(self, tensor: Tensor) -> None:
        tensor += torch.tensor(self.other.pop(0), dtype=tensor.dtype)


def pixels(*counts: int) -> list[Tensor]:
    """Targets of four pixels, of which so many count."""
    return [torch.tensor([1] * count + [0] * (4 - count)) for count in counts]


def test_a_mean_over_images_and_a_batch_alone_count_images() -> None:
    sums = torch.ones(2)
    for task, targets, whole in (
        (OVER_IMAGES, pixels(1, 2), Whole((8, 3), (8, 3))),
        (OVER_PIXELS, pixels(2), Whole((8,), (8,))),
    ):
        found = counted(task, targets, whole, ALONE)
        assert [each.images for each in found] == list(whole.counts)
        assert all(isinstance(each.images, int) for each in found), "known without the device"
        assert all(each.whole(sums) is sums for each in found)
    assert [each.images for each in counted(OVER_IMAGES, pixels(1), Whole((8,), (5,)), Beside())] == [5]


def test_batches_count_by_their_pixels_and_nothing_where_none_counts() -> None:
    whole = Whole((6, 4), (6, 4))
    found = counted(OVER_PIXELS, pixels(1, 4), whole, ALONE)
    assert [float(each.images) for each in found] == [2.0, 8.0]
    assert all(each.whole(each.images) is each.images for each in found)
    assert [float(each.images) for each in counted(OVER_PIXELS, pixels(1, 0), whole, ALONE)] == [10.0, 0.0]
    assert [float(each.images) for each in counted(OVER_PIXELS, pixels(0, 0), whole, ALONE)] == [0.0, 0.0]


def test_a_process_counts_its_pixels_of_all_and_passes_back_what_makes_its_gradient_whole() -> None:
    """Two pixels here and two there, one and one, none and one; three here, which another process counts, and none there."""
    ranks = Beside(other=[[2.0, 1.0, 1.0, 0.0], [10.0], [20.0], [30.0], [40.0]])
    found = counted(OVER_PIXELS, pixels(2, 1, 0, 3), Whole((3, 2, 1, 1), (2, 1, 1, 0)), ranks)
    assert [float(each.images) for each in found] == [2.0, 1.0, 0.0, 0.0]  # of seven pixels and as many images
    sums = [torch.tensor([5.0], requires_grad=True) for _ in found]
    totals = [each.whole(own) for each, own in zip(found, sums, strict=True)]
    assert [float(total.detach()) for total in totals] == [15.0, 25.0, 35.0, 40.0]
    for total in totals:
        total.backward()
    assert [float(own.grad) for own in sums] == [2.0, 2.0, 0.0, 0.0]
    assert totals[0].dtype == sums[0].grad.dtype == torch.float32
