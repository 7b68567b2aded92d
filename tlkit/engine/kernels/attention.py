"""Attention in bfloat16 by matrix products, where the library's kernel is slow: short sequences.

    P = softmax(s Q K^T)     O = P V
    dV = P^T dO     dP = dO V^T     dS = P (dP - sum_row(dP P))     dQ = s dS K     dK = s dS^T Q

Q K^T is computed in float32, since the exponential would magnify its rounding; P is kept in bfloat16, and the other products are
bfloat16's. The library's kernel keeps no P and computes it anew, in blocks that are small for the processor; that pays where P is large.

Source: Dao et al. 2022, arXiv:2205.14135, section 2.2 and appendix B.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.kernels.context import Context
from tlkit.engine.kernels.once import once

LONGEST = 1024  # keys and queries, of which P has a square


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor | None:  # fmt: skip
    """Compute `torch.nn.functional.scaled_dot_product_attention`; None where the library must, or does it as fast.

    With a mask, dropout, or heads of different numbers the library must.
    """
    if attn_mask is not None or dropout_p or is_causal or query.ndim != 4 or query.device.type != "cpu":
        return None
    if torch.is_autocast_enabled("cpu"):
        to = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(to), key.to(to), value.to(to)
    if any(each.dtype != torch.bfloat16 for each in (query, key, value)) or not query.requires_grad:
        return None
    if key.shape[:2] != query.shape[:2] or value.shape[:3] != key.shape[:3] or max(query.shape[2], key.shape[2]) > LONGEST:
        return None
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        output: Tensor = _Attention.apply(query, key, value, factor)
    return output


class _Kept(Context, Protocol):
    scale: float
    shapes: Sequence[torch.Size]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Kept, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        q, k, v = (each.flatten(0, 1) for each in (query, key, value))  # (B H, L, D)
        wide = torch.promote_types(q.dtype, torch.float32)
        logits = torch.bmm(q.to(wide) * scale, k.to(wide).transpose(1, 2))
        p = torch.softmax(logits, -1).to(v.dtype)  # (B H, L, S)
        ctx.save_for_backward(q, k, v, p)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape, value.shape)
        return torch.bmm(p, v).view(*query.shape[:2], *q.shape[1:2], *v.shape[2:])

    @staticmethod
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        once("scaled_dot_product_attention")
        q, k, v, p = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            grad = grad.flatten(0, 1)
            of_v = torch.bmm(p.transpose(1, 2), grad)
            of_logits = torch._softmax_backward_data(torch.bmm(grad, v.transpose(1, 2)), p, -1, p.dtype)
            of_q = torch.bmm(of_logits, k).mul_(ctx.scale)
            of_k = torch.bmm(of_logits.transpose(1, 2), q).mul_(ctx.scale)
        of_q, of_k, of_v = (each.view(shape) for each, shape in zip((of_q, of_k, of_v), ctx.shapes, strict=True))
        return of_q, of_k, of_v, None
