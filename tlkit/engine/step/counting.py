"""The weight of each batch in the mean loss of a training step, and sums over all processes through which gradients flow.

The rule: nothing is read from the device. Where a task's loss is a mean over images, numbers are known without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tlkit.engine.kernels.context import Context
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.ranks.shares import Whole
from tlkit.tasks import Task


@dataclass(frozen=True)
class Counted:
    """What a batch counts here.

    Attributes:
        images: How many of the step's images it stands for. Where a mean is over pixels, its part of the step's pixels, 0 to 1, times
            the images (0-d).
        whole: (sums over its images) -> over those of all processes.
    """

    images: int | Tensor
    whole: Callable[[Tensor], Tensor] = lambda sums: sums


def counted(task: Task, targets: Sequence[Tensor], whole: Whole, ranks: Ranks) -> list[Counted]:
    """Return what each batch of a step counts here.

    Args:
        task: Says what a mean is over.
        targets: Of each batch here.
        whole: What the batches are part of.
        ranks: The processes of the run.
    """
    if task.counts is None or (len(targets) == 1 and ranks.size == 1):
        return [Counted(images) for images in whole.counts]
    each = [task.counts(own).double() * bool(images) for own, images in zip(targets, whole.counts, strict=True)]
    here = torch.stack(each)
    everywhere = here.clone()
    ranks.sum_(everywhere)
    images = (here * (whole.images / everywhere.sum().clamp_min(1))).unbind()
    if ranks.size == 1:
        return [Counted(own) for own in images]
    # A term that all processes compute alike has the batch's weight on each, not this process's part of it.
    scales = torch.where(here > 0, everywhere / here.clamp_min(1), 0).float().unbind()
    return [
        Counted(own, _Summed(ranks, scale, bool(there))) for own, scale, there in zip(images, scales, whole.counts, strict=True)
    ]


@dataclass(frozen=True)
class _Summed:
    ranks: Ranks
    scale: Tensor
    counts: bool  # no image of this process stands in for one that another counts

    def __call__(self, sums: Tensor) -> Tensor:
        found: Tensor = _Sum.apply(sums * self.counts, self.ranks, self.scale)
        return found


class _Kept(Context, Protocol):
    scale: Tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Kept, sums: Tensor, ranks: Ranks, scale: Tensor) -> Tensor:
        ctx.scale = scale
        found = sums.contiguous().clone()
        ranks.sum_(found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.scale, None, None
