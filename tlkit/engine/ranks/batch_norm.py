"""BatchNorm over the images of all processes, in a training step.

With n_r counted values of a channel on process r, N of them in all, and the processes' means m_r and variances v_r:

    mean = sum_r n_r m_r / N
    var  = sum_r n_r (v_r + (m_r - mean)^2) / N

With the gradient g of the output, x' = (x - mean) / std and sums over the values of all processes, the gradients are

    of the bias     sum g         } of this process's values: they are added up with all other gradients
    of the weight   sum g x'      }
    of the input    weight / std (g - sum g / N - x' sum(g x') / N)

torch.nn.SyncBatchNorm does the same on a GPU alone, and selects rows by a mask, which no captured graph can.

Source: Ioffe & Szegedy 2015, arXiv:1502.03167; merging: Chan, Golub & LeVeque 1979, STAN-CS-79-773, eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.kernels.context import Context
from tlkit.engine.ranks.ranks import Ranks


def batch_norm(
    ranks: Ranks, counts: Sequence[int], input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    """Compute `torch.nn.functional.batch_norm` over all processes; None where it does not normalise by the batch.

    `counts` says how many images of the batch count on each process; the other arguments are torch's.
    """
    if not training:
        return None
    output: Tensor
    output, mean, var = _BatchNorm.apply(input, weight, bias, eps, ranks, counts)
    if running_mean is not None and running_var is not None:
        values = sum(counts) * (input.numel() // (input.shape[0] * input.shape[1]))
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (values / max(values - 1, 1))).to(running_var.dtype), momentum)
    return output


class _Kept(Context, Protocol):
    eps: float
    ranks: Ranks
    counted: bool
    values: int
    mark_non_differentiable: Callable[..., None]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Kept, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks, counts: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = _wide(x)
        over = [0, *range(2, x.ndim)]
        own_var, own_mean = torch.var_mean(values, over, correction=0)
        means, variances = ranks.stacked(torch.stack([own_mean, own_var])).unbind(1)  # (size, C) each
        # filled on the device: a graph may hold no copy from pageable memory
        parts = torch.stack([values.new_full((1,), count / sum(counts)) for count in counts])
        mean = (parts * means).sum(0)
        var = (parts * (variances + (means - mean).square())).sum(0)
        normal = (values - _shaped(mean, x)) * _shaped(torch.rsqrt(var + eps), x)
        if weight is not None:
            normal = normal * _shaped(weight.to(values.dtype), x)
        if bias is not None:
            normal = normal + _shaped(bias.to(values.dtype), x)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.ranks, ctx.counted = eps, ranks, counts[ranks.rank] > 0
        ctx.values = sum(counts) * (x.numel() // (x.shape[0] * x.shape[1]))
        ctx.mark_non_differentiable(mean, var)
        return normal.to(x.dtype), mean, var

    @staticmethod
    def backward(ctx: _Kept, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        over = [0, *range(2, x.ndim)]
        values, wide = _wide(x), _wide(grad)
        scale = torch.rsqrt(var + ctx.eps)
        normal = (values - _shaped(mean, x)) * _shaped(scale, x)
        of_bias, of_weight = wide.sum(over), (wide * normal).sum(over)
        of_input = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack([of_bias, of_weight])
            ctx.ranks.sum_(sums)
            rest = (_shaped(sums[0], x) + normal * _shaped(sums[1], x)) / ctx.values
            factor = scale if weight is None else scale * weight.to(scale.dtype)
            # an image that counts on another process is in no statistic
            of_input = ((wide - rest * float(ctx.counted)) * _shaped(factor, x)).to(x.dtype)
        kept = None if weight is None else of_weight.to(weight.dtype)
        return of_input, kept, None if weight is None else of_bias.to(weight.dtype), None, None, None


def _wide(x: Tensor) -> Tensor:
    """Return values in which sums are taken: float32 of halves."""
    return x.float() if x.dtype.itemsize == 2 else x


def _shaped(channels: Tensor, like: Tensor) -> Tensor:
    """Return numbers of the channels (C,) so that they go with pictures (N, C, ...)."""
    return channels.view(1, -1, *[1] * (like.ndim - 2))
