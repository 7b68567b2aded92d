"""BatchNorm over bfloat16 channels-last pictures whose channels do not fill the processor's vectors.

The library's loop runs over the channels of one pixel, 32 or 16 at a time, and takes what is left one by one: 24 or 40 channels take
two to four times as long as 32. Here k neighbouring pixels of C channels count as one pixel of k C channels, a multiple of 32, which
only renames the same memory. The statistics of the k groups of C channels are then merged. With M values of a channel, n = M / k of
them in each group, and the groups' means m_j and variances v_j:

    mean = sum_j m_j / k
    var  = sum_j v_j / k + sum_j (m_j - mean)^2 / k

With the gradient g of the output, x' = (x - mean) / std and sums over the M values of a channel, the gradients are

    of the bias     sum g
    of the weight   sum g x'
    of the input    weight / std (g - sum g / M - x' sum(g x') / M)

Source: Ioffe & Szegedy 2015, arXiv:1502.03167; merging: Chan, Golub & LeVeque 1979, STAN-CS-79-773, eq. 2.1.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.kernels.context import Context
from tlkit.engine.kernels.once import once

VECTOR = 32  # bfloat16 values in 512 bits
_UNEVEN = 16  # a rest of half a vector is no slower: float32 vectors have 16 values, to which they are converted
_LONGEST = 1024  # channels of a folded pixel, at most
_WORTHWHILE = 8192  # pixels; of fewer the merging takes longer than the rests


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    """Compute `torch.nn.functional.batch_norm`; None where the library does it as fast.

    The running statistics are those of the library to float32's rounding.
    """
    if not training or weight is None or bias is None or running_mean is None or running_var is None:
        return None
    if input.ndim != 4 or input.dtype != torch.bfloat16 or weight.dtype != torch.float32 or input.device.type != "cpu":
        return None
    fold = pixels(input)
    if fold == 1:
        return None
    output: Tensor = _BatchNorm.apply(input, weight, bias, running_mean, running_var, momentum, eps, fold)
    return output


def pixels(x: Tensor) -> int:
    """Return how many pixels of pictures (N, C, H, W) to take as one; 1 where it does not help or cannot be done."""
    count, channels, height, width = x.shape
    if channels % _UNEVEN == 0 or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return 1
    fold = math.lcm(channels, VECTOR) // channels
    rows = count * height * width
    if fold * channels > _LONGEST or rows < _WORTHWHILE or rows % fold:
        return 1
    return fold


class _Kept(Context, Protocol):
    eps: float
    fold: int


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Kept, x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float,
        eps: float, fold: int,
    ) -> Tensor:  # fmt: skip
        channels, count = x.shape[1], x.numel() // x.shape[1]
        folded = _folded(x, fold)
        # Their dtype is that of the statistics; they are not changed.
        unused = weight.new_zeros(fold * channels), weight.new_ones(fold * channels)
        means, variances = torch.batch_norm_update_stats(folded, *unused, 0.0)
        between, mean = torch.var_mean(means.view(fold, channels), 0, correction=0)
        var = variances.view(fold, channels).mean(0).add_(between)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.fold = eps, fold
        output = torch.empty_like(x)  # and not a view of what is computed, which must not be changed in place
        _scale_(_folded(output, fold), folded, (weight, bias, mean, var), fold, eps)
        return output

    @staticmethod
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor | None, ...]:
        once("batch_norm")
        x, weight, mean, var = ctx.saved_tensors
        eps, fold = ctx.eps, ctx.fold
        channels, count = x.shape[1], x.numel() // x.shape[1]
        of_input = ctx.needs_input_grad[0]
        folded = _folded(x, fold)
        # As in evaluation mode, which gives both sums, and weight / std g.
        scaled, products, sums = torch.ops.aten.native_batch_norm_backward(
            _folded(grad.contiguous(memory_format=torch.channels_last), fold), folded, *(each.repeat(fold) for each in (weight, mean, var)),
            None, None, False, eps, [of_input, True, True],
        )  # fmt: skip
        of_weight, of_bias = (each.view(fold, channels).sum(0) for each in (products, sums))
        if not of_input:
            return None, of_weight, of_bias, *[None] * 5
        scale = weight * torch.rsqrt(var + eps)
        gradient = torch.empty_like(x)
        rest = scale * of_weight / -count, scale * of_bias / -count, mean, var
        _scale_(_folded(gradient, fold), folded, rest, fold, eps)
        _folded(gradient, fold).add_(scaled)
        return gradient, of_weight, of_bias, *[None] * 5


def _scale_(output: Tensor, x: Tensor, statistics: tuple[Tensor, Tensor, Tensor, Tensor], fold: int, eps: float) -> None:
    """Set output to weight (x - mean) / std + bias, both folded; the statistics are weight, bias, mean and var of a channel."""
    weight, bias, mean, var = (each.repeat(fold) for each in statistics)
    unused = weight.new_empty(0), weight.new_empty(0)
    torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps, out=(output, *unused))


def _folded(x: Tensor, fold: int) -> Tensor:
    """Return the same memory (N, C, H, W), channels last, as (1, fold C, N H W / fold, 1), channels last."""
    count, channels, height, width = x.shape
    rows = count * height * width // fold
    return x.permute(0, 2, 3, 1).view(1, rows, 1, fold * channels).permute(0, 3, 1, 2)
