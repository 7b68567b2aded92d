"""The interface of a kernel: which gradients of which convolutions it computes, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tlkit.engine.formats import DTYPES, LAYOUTS, cast
from tlkit.record.formats import ComputeFormat, MemoryFormat
from tlkit.record.kernels import Convolution, Part

# The gradient of the input, of (N, *image), from the output's gradient (N, *output) and the weight; or the gradient of the
# weight from the input (N, *image) and the output's gradient.
Compute = Callable[[Convolution, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Kernel:
    """One way to compute a gradient of a convolution.

    Attributes:
        name: Which a run keeps.
        part: The gradient that it computes.
        fits: Whether it can compute that gradient of a convolution, and may be faster than the library's kernel.
        compute: Computes it. Where the convolution's two operands have a precision, so has the result.
        always: It is tried wherever it fits: it is up to twice as fast as a good kernel of the library. Others are tried only where the
            library's kernel is far from what a processor can do.
    """

    name: str
    part: Part
    fits: Callable[[Convolution], bool]
    compute: Compute
    always: bool = False


def in_format(compute: Compute, compute_format: Callable[[Convolution], ComputeFormat]) -> Compute:
    """Return a way to compute a gradient in another precision or memory format; the result has the operands' precision.

    Args:
        compute: The way to compute it.
        compute_format: From a convolution to the precision and memory format in which it is computed.
    """

    def computed(convolution: Convolution, first: Tensor, second: Tensor) -> Tensor:
        form = compute_format(convolution)
        result = compute(convolution, cast(first, form), cast(second, form))
        return result.to(first.dtype).contiguous(memory_format=LAYOUTS[convolution.compute_format.layout])

    return computed


def float32(convolution: Convolution) -> ComputeFormat:
    """Return float32 in the memory format of a convolution."""
    return ComputeFormat("float32", convolution.compute_format.layout)


def other_layout(convolution: Convolution) -> ComputeFormat:
    """Return the precision of a convolution in the other memory format."""
    return ComputeFormat(convolution.compute_format.precision, _OTHER[convolution.compute_format.layout])


def float32_other_layout(convolution: Convolution) -> ComputeFormat:
    """Return float32 in the other memory format than a convolution's."""
    return ComputeFormat("float32", other_layout(convolution).layout)


def is_half(convolution: Convolution) -> bool:
    """Whether a convolution runs in bfloat16."""
    return convolution.compute_format.precision == "bfloat16"


def is_channels_last(convolution: Convolution) -> bool:
    """Whether a convolution's operands are in channels_last."""
    return convolution.compute_format.layout == "channels_last"


def rows(x: Tensor) -> Tensor:
    """Return a feature map (N, C, h, w) as a matrix (N h w, C), a pixel in each row; a view in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def dtype(convolution: Convolution) -> torch.dtype:
    """Return the dtype of a convolution's operands."""
    return DTYPES[convolution.compute_format.precision]


_OTHER: dict[MemoryFormat, MemoryFormat] = {"contiguous": "channels_last", "channels_last": "contiguous"}
