"""Compute some of torch's functions in another way than the library while a network trains on a CPU.

The rule: the network is not changed; a `TorchFunctionMode` sees the functions that its modules call. Each of the kernels takes the
arguments of torch's function and returns None where the library must compute it, or does it as fast. Which it is depends on shapes,
dtype and memory format alone, so a continued run has the same bits. What each of them saves was measured, see docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tlkit.engine.kernels import attention, average_pooling, batch_norm, hard_limits

KERNELS: Mapping[Callable[..., object], Callable[..., torch.Tensor | None]] = {
    functional.batch_norm: batch_norm.batch_norm,
    functional.hardtanh: hard_limits.hardtanh,
    functional.relu6: hard_limits.relu6,
    functional.avg_pool2d: average_pooling.avg_pool2d,
    functional.adaptive_avg_pool2d: average_pooling.adaptive_avg_pool2d,
    functional.scaled_dot_product_attention: attention.scaled_dot_product_attention,
}


def faster(device: torch.device) -> AbstractContextManager[object]:
    """Return a context manager in which the kernels are used for functions that autograd follows, on a CPU."""
    return _Functions() if device.type == "cpu" else nullcontext()


class _Functions(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kernel = KERNELS.get(func)
        if kernel is not None and torch.is_grad_enabled():
            found = kernel(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))
