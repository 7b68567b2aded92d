"""The gradient of the weight over small pictures as one matrix product, of the pixels that each output reads (im2col).

With the values that an output reads through all taps as a row of U (N h w, kh kw C), zeros where it reads padding, and the output's gradient as
the rows of G (N h w, O):

    dW = G^T U,  of shape (O, kh kw C)

U has every pixel once for each tap that reads it. That pays where the picture is small and the stride leaves few outputs.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from tlkit.engine.kernels.kernel import Kernel, is_channels_last, rows
from tlkit.record.kernels import Convolution

_MOST = 2**17  # values of U for an image: with more of them, memory is the limit


def gradient_of_weight(convolution: Convolution, image: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of the weight from the input (N, *image) and the gradient (N, *output) of the output."""
    out, inner, *taps = convolution.weight
    product = rows(grad).t() @ _read(convolution, image)  # (O, kh kw C)
    return product.view(out, *taps, inner).permute(0, 3, 1, 2).contiguous()


def _read(convolution: Convolution, image: Tensor) -> Tensor:
    """Return what each output reads, (N h w, kh kw C)."""
    above, left = convolution.padding
    padded = pad(image.permute(0, 2, 3, 1), (0, 0, left, left, above, above)).contiguous()  # (N, H, W, C)
    of_image, of_row, of_pixel, _ = padded.stride()
    (_, height, width), (_, inner, *taps) = convolution.output, convolution.weight
    strides = (
        of_image, of_row * convolution.stride[0], of_pixel * convolution.stride[1],
        of_row * convolution.dilation[0], of_pixel * convolution.dilation[1], 1,
    )  # fmt: skip
    read = padded.as_strided((len(image), height, width, *taps, inner), strides)
    return read.reshape(-1, taps[0] * taps[1] * inner)


def _fits(convolution: Convolution) -> bool:
    (_, height, width), (_, inner, *taps) = convolution.output, convolution.weight
    small = height * width * taps[0] * taps[1] * inner <= _MOST
    return small and convolution.groups == 1 and convolution.weight[2:] != (1, 1) and is_channels_last(convolution)


KERNELS = (Kernel("columns", "weight", _fits, gradient_of_weight, always=True),)
