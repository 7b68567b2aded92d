"""The gradient of a depthwise convolution's input as an ordinary convolution of the output's gradient, dilated with zeros.

On each axis, with stride s, padding p, dilation d and k taps, an output o reads the input at  i = s o + d a - p  through tap a. Put the output's
gradient at every s-th place of zeros,  Z[s o] = dY[o];  then

    dX[i] = sum over taps a of  Z[i + p - d a] * W[a]

which is a convolution of Z of stride 1 with the taps reversed, the same dilation and padding  d (k - 1) - p.  Places after the last output that
no window reaches are zeros, too. The library's kernels of the forward pass compute it, and those are faster for many shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.engine.kernels.kernel import Kernel
from tlkit.record.kernels import Convolution, Pair


def gradient_of_input(convolution: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (N, *image) of the input from that of the output (N, *output)."""
    return torch.conv2d(
        _dilated(convolution, grad), weight.flip(2, 3), None, padding=_padding(convolution), dilation=convolution.dilation,
        groups=convolution.groups,
    )  # fmt: skip


def _dilated(convolution: Convolution, grad: Tensor) -> Tensor:
    """Return the output's gradient with zeros between its places, and after them as many as the input needs."""
    height, width = (
        size + 2 * padding - step * (taps - 1)
        for size, padding, step, taps in zip(
            convolution.image[1:], convolution.padding, convolution.dilation, convolution.weight[2:], strict=True
        )
    )
    if (height, width) == convolution.output[1:]:
        return grad
    layout = torch.contiguous_format if grad.is_contiguous() else torch.channels_last
    shape = *grad.shape[:2], height, width
    zeros = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout).zero_()
    zeros[:, :, :: convolution.stride[0], :: convolution.stride[1]] = grad
    return zeros


def _padding(convolution: Convolution) -> Pair:
    (rows, columns), (above, left) = convolution.weight[2:], convolution.padding
    return convolution.dilation[0] * (rows - 1) - above, convolution.dilation[1] * (columns - 1) - left


def _fits(convolution: Convolution) -> bool:
    return convolution.depthwise and min(_padding(convolution)) >= 0


KERNELS = (Kernel("dilated", "input", _fits, gradient_of_input, always=True),)
