"""Both gradients of a 1x1 convolution, each as one matrix product.

A 1x1 convolution without padding multiplies every pixel by the weight. With the pixels that it reads as the rows of X (N h w, C), those of the
output's gradient as the rows of G (N h w, O), and the weight as W (O, C):

    dX = G W        dW = G^T X

With a stride it reads every s-th pixel, and the gradient of the others is zero. In channels_last a pixel's channels lie side by side, so
X and G are the tensors themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.engine.kernels.kernel import Kernel, is_channels_last, rows
from tlkit.record.kernels import Convolution


def gradient_of_input(convolution: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (N, *image) of the input from that of the output (N, *output)."""
    _, height, width = convolution.output
    product = rows(grad) @ weight.flatten(1)  # (N h w, C)
    read = product.view(len(grad), height, width, -1).permute(0, 3, 1, 2)
    if convolution.stride == (1, 1):
        return read
    shape = len(grad), *convolution.image
    total = torch.zeros(shape, dtype=grad.dtype, device=grad.device).contiguous(memory_format=torch.channels_last)
    total[:, :, :: convolution.stride[0], :: convolution.stride[1]] = read
    return total


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    read = image[:, :, :: convolution.stride[0], :: convolution.stride[1]]
    return (rows(grad).t() @ rows(read)).view(convolution.weight)


def _fits(convolution: Convolution) -> bool:
    plain = convolution.groups == 1 and convolution.weight[2:] == (1, 1) and convolution.padding == (0, 0)
    return plain and is_channels_last(convolution)


KERNELS = (
    Kernel("one product", "input", _fits, gradient_of_input, always=True),
    Kernel("one product", "weight", _fits, gradient_of_weight, always=True),
)
