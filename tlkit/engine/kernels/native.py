"""The library's own kernels, in the precision and memory format of the operands.

In another precision or memory format the library takes another algorithm, and some are 10 to 100 times slower than others: a
bfloat16 depthwise convolution of stride 2 computes the gradient of its input by a kernel for ordinary convolutions, which float32 does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.engine.kernels.kernel import Kernel, float32, float32_other_layout, in_format, is_half, other_layout
from tlkit.record.kernels import NATIVE, Convolution


def gradient_of_input(convolution: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (N, *image) of the input from that of the output (N, *output)."""
    layout = torch.channels_last if _is_channels_last(grad) else torch.contiguous_format
    image = torch.empty((len(grad), *convolution.image), dtype=grad.dtype, device=grad.device, memory_format=layout)
    return _backward(convolution, grad, image, weight, which=0)


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    weight = torch.empty(convolution.weight, dtype=grad.dtype, device=grad.device)
    return _backward(convolution, grad, image, weight, which=1)


def _backward(convolution: Convolution, grad: Tensor, image: Tensor, weight: Tensor, *, which: int) -> Tensor:
    gradients = torch.ops.aten.convolution_backward(
        grad, image, weight, None, convolution.stride, convolution.padding, convolution.dilation, False, (0, 0),
        convolution.groups, [which == 0, which == 1, False],
    )  # fmt: skip
    gradient: Tensor = gradients[which]
    return gradient


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _always(_: Convolution) -> bool:
    return True


KERNELS = (
    Kernel(NATIVE, "input", _always, gradient_of_input),
    Kernel(NATIVE, "weight", _always, gradient_of_weight),
    Kernel("float32", "input", is_half, in_format(gradient_of_input, float32)),
    Kernel("float32", "weight", is_half, in_format(gradient_of_weight, float32)),
    Kernel("other layout", "input", _always, in_format(gradient_of_input, other_layout)),
    Kernel("other layout", "weight", _always, in_format(gradient_of_weight, other_layout)),
    Kernel("float32, other layout", "input", is_half, in_format(gradient_of_input, float32_other_layout)),
    Kernel("float32, other layout", "weight", is_half, in_format(gradient_of_weight, float32_other_layout)),
)
