"""Put the rows of all processes together, for a loss that compares all of them; gradients flow back to the process that has a row.

The rule: every process computes the same loss L of all rows and takes the gradient of L / size, as gradients are added up over the
processes. A parameter that is used behind the gathered rows gets dL/dp / size on each of the `size` processes. What flows back to a row
is multiplied by `size`, since only one process passes it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tlkit.engine.kernels.context import Context
from tlkit.engine.ranks.ranks import Ranks


def rows(ranks: Ranks, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the rows of all processes (sum of counts, ...), those of the first process first; of one process its own.

    Args:
        ranks: The processes.
        x: Rows (n, ...) of this process, of which those that it counts are the first.
        counts: Rows that count, of each process; at least one in all.
    """
    if ranks.size == 1:
        return x
    if not x.is_floating_point():
        return _together(ranks, x, counts)
    found: Tensor = _Gathered.apply(x, ranks, counts)
    return found


class _Kept(Context, Protocol):
    ranks: Ranks
    counts: Sequence[int]
    here: int


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Kept, x: Tensor, ranks: Ranks, counts: Sequence[int]) -> Tensor:
        ctx.ranks, ctx.counts, ctx.here = ranks, counts, len(x)
        return _together(ranks, x, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor, None, None]:
        start, mine = sum(ctx.counts[: ctx.ranks.rank]), ctx.counts[ctx.ranks.rank]
        own = grad.new_zeros((ctx.here, *grad.shape[1:]))
        own[:mine] = grad[start : start + mine] * ctx.ranks.size
        return own, None, None


def _together(ranks: Ranks, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes; no number is read from the device, so that a captured step may do it."""
    mine = counts[ranks.rank]
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[:mine] = x[:mine].detach()
    found = ranks.stacked(padded)
    return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])
