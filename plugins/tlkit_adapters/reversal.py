"""Gradient reversal: what lies before it is trained against what lies after it.

The rule: nothing here reads a value of a tensor on the host, so that a step with it can be captured as a CUDA graph.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class _Reversed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:  # Any: torch gives its context no type
        """Return x."""
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient times -factor."""
        (factor,) = ctx.saved_tensors
        return -factor * gradient, None


def reverse(x: Tensor, factor: Tensor) -> Tensor:
    """Return x unchanged; what flows back through it is multiplied by -factor.

    R(x) = x and dR/dx = -factor: what lies after it is trained to lower a loss, what lies before it to raise it.

    Args:
        x: Any shape.
        factor: 0-d, on the device of x. A tensor, so that a schedule can change it between replays of a captured step.

    Source: Ganin & Lempitsky 2015, arXiv:1409.7495, eq. 9 and 10.
    """
    reversed_: Tensor = _Reversed.apply(x, factor)
    return reversed_
