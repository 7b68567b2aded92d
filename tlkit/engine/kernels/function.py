"""Run a network with chosen kernels for the gradients of its convolutions.

The rule: the forward pass is the library's; what no kernel was chosen for is the library's too, bit for bit. The gradient of a
gradient is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.formats import LAYOUTS
from tlkit.engine.kernels import calls, catalogue
from tlkit.engine.kernels.context import Context
from tlkit.engine.kernels.kernel import Kernel
from tlkit.engine.kernels.once import once
from tlkit.engine.other_functions import Function
from tlkit.record.kernels import NATIVE, ChosenKernel, Convolution


@dataclass(frozen=True)
class Gradients:
    """The kernels of both gradients of a convolution."""

    input: Kernel
    weight: Kernel


def conv2d(chosen: Sequence[ChosenKernel]) -> Function | None:
    """Return a kernel for `torch.conv2d` whose gradients are computed by chosen kernels; None where none was chosen.

    Raises:
        TlkitError: there is no kernel of a name.
    """
    if not chosen:
        return None
    table: dict[Convolution, Gradients] = {}
    for convolution in dict.fromkeys(each.convolution for each in chosen):
        names = {each.part: each.kernel for each in chosen if each.convolution == convolution}
        table[convolution] = Gradients(
            catalogue.get(names.get("input", NATIVE), "input"), catalogue.get(names.get("weight", NATIVE), "weight")
        )

    def compute(*args: object, **kwargs: object) -> Tensor | None:
        call = calls.read(*args, **kwargs)  # type: ignore[arg-type]  # as torch.conv2d was given them
        kernels = None if call is None else table.get(call.convolution)
        return None if call is None or kernels is None else convolve(*call.cast(), call.convolution, kernels)

    return compute


def convolve(image: Tensor, weight: Tensor, bias: Tensor | None, convolution: Convolution, kernels: Gradients) -> Tensor:
    """Return the convolution (N, *output) of an input (N, *image), whose gradients are computed by given kernels."""
    output: Tensor = _Convolve.apply(image, weight, bias, convolution, kernels)
    return output


class _Kept(Context, Protocol):
    convolution: Convolution
    kernels: Gradients


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Kept, image: Tensor, weight: Tensor, bias: Tensor | None, convolution: Convolution, kernels: Gradients
    ) -> Tensor:
        of_image, of_weight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(image if of_weight else None, weight if of_image else None)
        ctx.convolution, ctx.kernels = convolution, kernels
        return torch.conv2d(
            image, weight, bias, convolution.stride, convolution.padding, convolution.dilation, convolution.groups
        )

    @staticmethod
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor | None, ...]:
        once("conv2d")
        convolution, kernels = ctx.convolution, ctx.kernels
        image, weight = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            grad = grad.contiguous(memory_format=LAYOUTS[convolution.compute_format.layout])
            of_image = None if weight is None else kernels.input.compute(convolution, grad, weight)
            of_weight = None if image is None else kernels.weight.compute(convolution, image, grad)
            of_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_image, of_weight, of_bias, None, None
