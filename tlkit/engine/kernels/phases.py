"""The gradient of a strided convolution's input as one small convolution of stride 1 for each phase of the position.

On each axis, with stride s, padding p and dilation 1, an output o reads the input at  i = s o + k - p  through tap k. So the input at
i gets a gradient only through the taps k = r + s m of its phase  r = (i + p) mod s,  from the outputs  o = q - m  where
q = (i + p - r) / s:

    dX[r + s q - p] = sum over m of  dY[q - m] * W[r + s m]

which is an ordinary convolution of dY with every s-th tap, reversed. Its result is written to every s-th position. A phase without a
tap, as with stride 2 and one tap, has no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tlkit.engine.kernels.kernel import Kernel, float32, in_format, is_half
from tlkit.record.kernels import Convolution


def gradient_of_input(convolution: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (N, *image) of the input from that of the output (N, *output)."""
    layout = torch.contiguous_format if grad.is_contiguous() else torch.channels_last
    shape = len(grad), *convolution.image
    total = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
    rows, columns = _phases(convolution, 0), _phases(convolution, 1)
    if sum(row.count for row in rows) * sum(column.count for column in columns) < convolution.image[1] * convolution.image[2]:
        total.zero_()
    turned = _turned(weight, convolution.groups)
    for row in rows:
        for column in columns:
            taps = turned[:, :, row.first :: row.step, column.first :: column.step].flip(2, 3)
            padding = row.taps - 1, column.taps - 1
            part = torch.conv2d(grad, taps, None, padding=padding, groups=convolution.groups)
            total[:, :, row.target, column.target] = part[:, :, row.source, column.source]
    return total


@dataclass(frozen=True)
class _Phase:
    """A phase on one axis: its taps, and from where to where its positions are written."""

    first: int
    step: int
    taps: int
    begin: int  # the first q
    position: int  # its position in the input
    count: int

    @property
    def source(self) -> slice:
        return slice(self.begin, self.begin + self.count)

    @property
    def target(self) -> slice:
        return slice(self.position, self.position + self.step * (self.count - 1) + 1, self.step)


def _phases(convolution: Convolution, axis: int) -> list[_Phase]:
    """Return the phases of one axis that have taps and positions."""
    size, outputs, taps = convolution.image[1 + axis], convolution.output[1 + axis], convolution.weight[2 + axis]
    step, padding = convolution.stride[axis], convolution.padding[axis]
    found = []
    for first in range(min(step, taps)):
        mine = (taps - first - 1) // step + 1
        begin = max(0, -((first - padding) // step))
        end = min(outputs + mine - 2, (size - 1 + padding - first) // step)
        if end >= begin:
            found.append(_Phase(first, step, mine, begin, first + step * begin - padding, end - begin + 1))
    return found


def _turned(weight: Tensor, groups: int) -> Tensor:
    """Return a weight (O, C / groups, kh, kw) with inputs and outputs exchanged in each group: (C, O / groups, kh, kw)."""
    out, inner, *kernel = weight.shape
    return weight.reshape(groups, out // groups, inner, *kernel).transpose(1, 2).reshape(groups * inner, out // groups, *kernel)


def _fits(convolution: Convolution) -> bool:
    return max(convolution.stride) > 1 and convolution.dilation == (1, 1) and convolution.groups > 1


def _fits_half(convolution: Convolution) -> bool:
    return _fits(convolution) and is_half(convolution)


KERNELS = (
    Kernel("phases", "input", _fits, gradient_of_input),
    Kernel("phases, float32", "input", _fits_half, in_format(gradient_of_input, float32)),
)
