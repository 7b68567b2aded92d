"""Compute some of torch's functions in another way than the library while a network trains on a CPU.

The rule: the network is not changed; `OtherFunctions` sees the functions that its modules call. Each of the kernels takes the
arguments of torch's function and returns None where the library must compute it, or does it as fast. Which it is depends on shapes,
dtype and memory format alone, so a continued run has the same bits. What each of them saves was measured, see docs/speed.md. Convolutions
are computed with kernels that were chosen for a run, see `function`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional

from tlkit.engine.kernels import attention, average_pooling, batch_norm, hard_limits
from tlkit.engine.other_functions import Function, OtherFunctions

KERNELS: Mapping[Callable[..., object], Function] = {
    functional.batch_norm: batch_norm.batch_norm,
    functional.hardtanh: hard_limits.hardtanh,
    functional.relu6: hard_limits.relu6,
    functional.avg_pool2d: average_pooling.avg_pool2d,
    functional.adaptive_avg_pool2d: average_pooling.adaptive_avg_pool2d,
    functional.scaled_dot_product_attention: attention.scaled_dot_product_attention,
}


def faster(device: torch.device, *, conv2d: Function | None = None) -> AbstractContextManager[object]:
    """Return a context manager in which the kernels are used for functions that autograd follows, on a CPU.

    Args:
        device: That computes.
        conv2d: A kernel for `torch.conv2d`; None lets the library compute it.
    """
    if device.type != "cpu":
        return nullcontext()
    return OtherFunctions(KERNELS if conv2d is None else {**KERNELS, torch.conv2d: conv2d})
