"""Gradients of average pooling over channels-last pictures.

**Windows of stride 1.** An odd window k with (k - 1) / 2 zeros on either side, which count in the average, is its own transpose: a
position lies in the windows of those positions that lie in its window. So the gradient is the average pooling of the gradient.
The library's backward kernel adds up in bfloat16, several times as slowly as its forward kernel, which adds up in float32.

**The mean of a picture.** The gradient of each position is the gradient of the mean, divided by the number of positions. The library
returns it contiguous, whatever the picture's memory format is, and most kernels of a network whose pictures are channels last are many
times slower for such a gradient. Here it has the format of the picture, and the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.kernels.context import Context
from tlkit.engine.kernels.once import once

_Sizes = int | Sequence[int]


def avg_pool2d(
    input: Tensor, kernel_size: _Sizes, stride: _Sizes | None = None, padding: _Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor | None:  # fmt: skip
    """Compute `torch.nn.functional.avg_pool2d`; None where its gradient is no average pooling, or the library is as fast."""
    if not _is_channels_last(input) or input.dtype != torch.bfloat16 or not count_include_pad:
        return None
    window, steps, pads = _pair(kernel_size), _pair(kernel_size if stride in (None, []) else stride), _pair(padding)
    if steps != (1, 1) or any(size != 2 * pad + 1 for size, pad in zip(window, pads, strict=True)):
        return None
    output: Tensor = _Window.apply(input, window, pads, divisor_override)
    return output


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor | None:
    """Compute `torch.nn.functional.adaptive_avg_pool2d` to one value; None for other sizes, or pictures that are not channels last."""
    if output_size not in (1, (1, 1), [1, 1]) or not _is_channels_last(input):
        return None
    output: Tensor = _Mean.apply(input)
    return output


class _Windows(Context, Protocol):
    arguments: tuple[tuple[int, int], tuple[int, int], tuple[int, int], bool, bool, int | None]


class _Shape(Context, Protocol):
    shape: torch.Size


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Windows, x: Tensor, window: tuple[int, int], pads: tuple[int, int], divisor: int | None) -> Tensor:
        ctx.arguments = window, (1, 1), pads, False, True, divisor
        output: Tensor = torch.ops.aten.avg_pool2d(x, *ctx.arguments)
        return output

    @staticmethod
    def backward(ctx: _Windows, grad: Tensor) -> tuple[Tensor, None, None, None]:
        once("avg_pool2d")
        grad = grad.contiguous(memory_format=torch.channels_last)
        return torch.ops.aten.avg_pool2d(grad, *ctx.arguments), None, None, None


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Shape, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return torch.nn.functional.adaptive_avg_pool2d(x, 1)

    @staticmethod
    def backward(ctx: _Shape, grad: Tensor) -> Tensor:
        once("adaptive_avg_pool2d")
        shape = ctx.shape
        each: Tensor = (grad / (shape[2] * shape[3])).expand(shape)
        return each.contiguous(memory_format=torch.channels_last)


def _is_channels_last(x: Tensor) -> bool:
    if x.ndim != 4 or x.device.type != "cpu" or not x.requires_grad:
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _pair(sizes: _Sizes) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[-1])
