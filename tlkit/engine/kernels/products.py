"""The gradient of a depthwise kernel over small pictures as one matrix product for each channel.

With N images of H x W pixels and h x w outputs, the products of every input pixel with every output pixel of a channel are

    P[c, y, i] = sum over images n of  X[n, c, y] * dY[n, c, i]

and a tap's gradient is the sum over the outputs i of  P[c, y(i, tap), i],  where y is the pixel that the output reads through the tap; there
is none where the tap reads padding. A matrix of zeros and ones, (H W h w) by taps, adds them up. Where the picture is not much larger than
the kernel, that is less work than to go through all taps, most of which read padding.

Products are kept and added up in float32. Where they cancel, bfloat16's rounding of each may be many times the rounding of their sum.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tlkit.engine.kernels.kernel import Kernel, is_half
from tlkit.record.kernels import Convolution

_MOST = 1024  # products of a channel: with more of them, memory is the limit


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    pixels = _wide(image).flatten(2).permute(1, 2, 0)  # (C, H W, N)
    outputs = _wide(grad).flatten(2).permute(1, 0, 2)  # (C, N, h w)
    products = torch.bmm(pixels, outputs).flatten(1)  # (C, H W h w)
    return torch.mm(products, _sums(convolution).to(products.dtype)).view(convolution.weight).to(grad.dtype)


def _wide(x: Tensor) -> Tensor:
    """Return a tensor in float32 at least and contiguous: the matrix product of channels-last ones is up to 25 times as slow."""
    return x.to(torch.promote_types(x.dtype, torch.float32), memory_format=torch.contiguous_format).contiguous()


@cache
def _sums(convolution: Convolution) -> Tensor:
    """Return a matrix (H W h w, kh kw) that is 1 where a product of an input and an output pixel belongs to a tap."""
    (_, height, width), (_, rows, columns) = convolution.image, convolution.output
    taps = convolution.weight[2:]
    matrix = torch.zeros(height, width, rows, columns, *taps)
    for a in range(taps[0]):
        for b in range(taps[1]):
            for i in range(rows):
                for j in range(columns):
                    y, x = (
                        convolution.stride[axis] * at + convolution.dilation[axis] * tap - convolution.padding[axis]
                        for axis, (at, tap) in enumerate(((i, a), (j, b)))
                    )
                    if 0 <= y < height and 0 <= x < width:
                        matrix[y, x, i, j, a, b] = 1.0
    return matrix.view(height * width * rows * columns, taps[0] * taps[1])


def _fits(convolution: Convolution) -> bool:
    (_, height, width), (_, rows, columns) = convolution.image, convolution.output
    return convolution.depthwise and height * width * rows * columns <= _MOST


KERNELS = (
    Kernel("products", "weight", lambda each: _fits(each) and not is_half(each), gradient_of_weight),
    Kernel("products, float32", "weight", lambda each: _fits(each) and is_half(each), gradient_of_weight),
)
