"""Gradients of a 3x3 convolution by Winograd's algorithm: 16 products for what takes 36.

On one axis two outputs of three taps are sums of four products, where multiplying out takes six, and so is the gradient of three taps from two
outputs. With d four neighbouring inputs, w the taps, and g the gradients of two outputs,

    y = A^T [ (G w) * (B^T d) ]        dW = G^T [ (B^T d) * (A g) ]

          1  0 -1  0           1  0          1    0    0
    B^T = 0  1  1  0       A = 1  1      G = 1/2  1/2  1/2
          0 -1  1  0           1 -1          1/2 -1/2  1/2
          0  1  0 -1           0 -1          0    0    1

The input's gradient is a convolution of the output's, with padding 2 - p and the taps reversed, so the first gives it. In two dimensions the
matrices act on rows and on columns, so a tile of 2x2 outputs takes 16 products instead of 36. All tiles of some images and all pairs of channels
are 16 matrix products. Only in float32: rounding what is multiplied to bfloat16 makes the error 3.5 to 4 times as large.

Source: Lavin & Gray 2015, arXiv:1509.09308, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from tlkit.engine.kernels.kernel import Kernel, is_channels_last, is_half
from tlkit.record.kernels import Convolution

# Channels on either side: with fewer, the transforms take longer than the products save.
_LEAST, _LEAST_OF_INPUT = 128, 256
_VALUES = 2**22  # of a transformed input, at most: of so many images at a time
_G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def gradient_of_input(convolution: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (N, *image) of the input from that of the output (N, *output)."""
    (channels, height, width), (_, rows, columns) = convolution.image, convolution.output
    above, left = 2 - convolution.padding[0], 2 - convolution.padding[1]
    down, across = 2 * -(-height // 2), 2 * -(-width // 2)
    turn = _g(weight)
    taps = torch.einsum("ia,ocab,jb->ijoc", turn, weight.flip(2, 3), turn).flatten(0, 1)
    total = torch.empty((len(grad), down, across, channels), dtype=grad.dtype, device=grad.device)
    images = _images(convolution)
    for grads, found in zip(torch.split(grad, images), torch.split(total, images), strict=True):
        edges = 0, 0, left, across + 2 - columns - left, above, down + 2 - rows - above
        tiles = _on_both_axes(pad(grads.permute(0, 2, 3, 1), edges), _of_input, 4)  # (16, tiles, O)
        products = torch.bmm(tiles, taps).view(4, 4, len(grads), down // 2, across // 2, channels)
        for top, row in enumerate(_outputs(products)):
            for side, values in enumerate(_outputs(row)):
                found[:, top::2, side::2] = values
    return total[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    products = torch.zeros((16, *convolution.weight[:2]), dtype=grad.dtype, device=grad.device)
    for images, grads in zip(*(torch.split(each, _images(convolution)) for each in (image, grad)), strict=True):
        of_images, of_grads = _transformed(convolution, images, grads)
        products.baddbmm_(of_grads.transpose(1, 2), of_images)
    turn = _g(grad)
    return torch.einsum("ia,ijoc,jb->ocab", turn, products.view(4, 4, *convolution.weight[:2]), turn).contiguous()


def _images(convolution: Convolution) -> int:
    """Return how many images are transformed at a time."""
    return max(1, _VALUES // (4 * max(math.prod(convolution.image), math.prod(convolution.output))))


def _g(like: Tensor) -> Tensor:
    return torch.tensor(_G, dtype=like.dtype, device=like.device)


def _transformed(convolution: Convolution, image: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is multiplied for every tile, of inputs (16, tiles, C) and of gradients (16, tiles, O)."""
    (_, height, width), (_, rows, columns) = convolution.image, convolution.output
    above, left = convolution.padding
    down, across = 2 * -(-rows // 2), 2 * -(-columns // 2)
    inputs = pad(image.permute(0, 2, 3, 1), (0, 0, left, across + 2 - width - left, above, down + 2 - height - above))
    grads = pad(grad.permute(0, 2, 3, 1), (0, 0, 0, across - columns, 0, down - rows))
    return _on_both_axes(inputs, _of_input, 4), _on_both_axes(grads, _of_grad, 2)


def _on_both_axes(x: Tensor, transform: Callable[..., tuple[Tensor, ...]], size: int) -> Tensor:
    """Return tiles of (N, H, W, C), transformed on both axes, (16, tiles, C); a tile begins at every second place and has so many."""
    of_rows = transform(*x.unfold(1, size, 2).unbind(-1))
    return torch.stack([each for row in of_rows for each in transform(*row.unfold(2, size, 2).unbind(-1))]).flatten(1, 3)


def _of_input(first: Tensor, second: Tensor, third: Tensor, fourth: Tensor) -> tuple[Tensor, ...]:
    """Return B^T d of four neighbours."""
    return first - third, second + third, third - second, second - fourth


def _outputs(products: Tensor) -> tuple[Tensor, Tensor]:
    """Return A^T of four products."""
    first, second, third, fourth = products
    return first + second + third, second - third - fourth


def _of_grad(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Return A g of two neighbours."""
    return first, first + second, first - second, -second


def _fits_input(convolution: Convolution) -> bool:
    return _fits(convolution, least=_LEAST_OF_INPUT) and max(convolution.padding) <= 2


def _fits(convolution: Convolution, least: int = _LEAST) -> bool:
    out, inner, *_ = convolution.weight
    plain = (convolution.stride, convolution.dilation, convolution.groups) == ((1, 1), (1, 1), 1)
    taps = convolution.weight[2:] == (3, 3)
    return plain and taps and min(out, inner) >= least and is_channels_last(convolution) and not is_half(convolution)


KERNELS = (
    Kernel("winograd", "input", _fits_input, gradient_of_input, always=True),
    Kernel("winograd", "weight", _fits, gradient_of_weight, always=True),
)
