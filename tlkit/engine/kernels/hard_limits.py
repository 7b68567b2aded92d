"""ReLU6 and hardtanh in place, which keep their output alone.

    y = min(max(x, low), high)     gradient of x = gradient of y where low < y < high, else 0

y lies between the limits exactly where x does, so the output says as much as the input. The library keeps a copy of the input that
it overwrites: a pass over memory, and a tensor that lives until the backward pass. The bits are the library's.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.kernels.context import Context
from tlkit.engine.kernels.once import once


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor | None:
    """Compute `torch.nn.functional.hardtanh` in place; None where it is not in place, or autograd does not follow it, and of views."""
    if not inplace or not input.requires_grad or input.is_leaf or input._is_view() or not min_val < max_val:
        return None
    output: Tensor = _Limited.apply(input, min_val, max_val)
    return output


def relu6(input: Tensor, inplace: bool = False) -> Tensor | None:
    """Compute `torch.nn.functional.relu6` in place, as `hardtanh` does."""
    return hardtanh(input, 0.0, 6.0, inplace)


class _Limits(Context, Protocol):
    limits: tuple[float, float]


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Limits, x: Tensor, low: float, high: float) -> Tensor:
        torch.ops.aten.hardtanh_(x, low, high)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.limits = low, high
        return x

    @staticmethod
    def backward(ctx: _Limits, grad: Tensor) -> tuple[Tensor, None, None]:
        once("hardtanh")
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, y, *ctx.limits), None, None
