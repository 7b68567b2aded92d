"""The gradient of a large depthwise kernel as the gradients of several 3x3 ones.

A weight's gradient is, for each tap (a, b),

    dW[c, a, b] = sum over images n and outputs (i, j) of  X[n, c, s i + d a - p, s j + d b - p] * dY[n, c, i, j]

with stride s, dilation d and padding p. The 3x3 taps from (a0, b0) on are the gradient of a 3x3 kernel over the same input, moved
by (d a0, d b0), and the library has a fast kernel for that one. Windows that cover all taps are enough: (0, 0), (0, 2), (2, 0) and
(2, 2) for 5x5. Where two overlap, they compute the same sums.

The library's kernel for 3x3 adds up all outputs one after the other. In float32 such a sum is up to five times as far from the exact one as that
of the kernel for 5x5, so a few images at a time are added up, and then their sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from tlkit.engine.kernels import native
from tlkit.engine.kernels.kernel import Kernel, float32, in_format, is_half
from tlkit.record.kernels import Convolution

WINDOW = 3  # taps
_OUTPUTS = 400  # positions that are added one after the other, or those of one image


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    if grad.dtype == torch.bfloat16:  # its sums are those of float32, and are rounded once
        return _of_some(convolution, image, grad)
    _, height, width = convolution.output
    parts = (torch.split(each, max(1, _OUTPUTS // (height * width))) for each in (image, grad))
    return torch.stack([_of_some(convolution, *part) for part in zip(*parts, strict=True)]).sum(0)


def _of_some(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from some images alone."""
    total = torch.empty(convolution.weight, dtype=grad.dtype, device=grad.device)
    for top, rows in _offsets(convolution.weight[2]):
        for left, columns in _offsets(convolution.weight[3]):
            moved = pad(image, (*_edges(convolution, 1, left, columns), *_edges(convolution, 0, top, rows)))
            moved = moved.contiguous(memory_format=_layout(image))
            small = replace(
                convolution,
                image=(moved.shape[1], moved.shape[2], moved.shape[3]),
                weight=(*convolution.weight[:2], rows, columns),
                padding=(0, 0),
            )
            total[:, :, top : top + rows, left : left + columns] = native.gradient_of_weight(small, moved, grad)
    return total


def _offsets(taps: int) -> Iterator[tuple[int, int]]:
    """Yield the first tap of each window on one axis, and how many taps it has."""
    size = min(taps, WINDOW)
    for first in range(0, taps, size):
        yield min(first, taps - size), size


def _edges(convolution: Convolution, axis: int, first: int, taps: int) -> tuple[int, int]:
    """Return the rows (axis 0) or columns (axis 1) to add before and after the input; negative ones are cut off."""
    begin = convolution.dilation[axis] * first - convolution.padding[axis]
    reach = convolution.stride[axis] * (convolution.output[1 + axis] - 1) + convolution.dilation[axis] * (taps - 1) + 1
    return -begin, begin + reach - convolution.image[1 + axis]


def _layout(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _fits(convolution: Convolution) -> bool:
    return convolution.depthwise and max(convolution.weight[2:]) > WINDOW


def _fits_half(convolution: Convolution) -> bool:
    return _fits(convolution) and is_half(convolution)


KERNELS = (
    Kernel("windows", "weight", _fits, gradient_of_weight),
    Kernel("windows, float32", "weight", _fits_half, in_format(gradient_of_weight, float32)),
)
