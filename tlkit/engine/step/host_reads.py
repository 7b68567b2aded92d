"""Find operators that make the host wait for the device: a graph cannot capture them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

_DATA_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
_COPIES = {"aten::_to_copy", "aten::copy_"}
_FILLS = {"aten::index_fill", "aten::index_fill_"}  # by a tensor, which their kernels read on the host


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Find operators that make the host wait for the device, or whose output shape depends on values.

    It sees what torch dispatches, in the backward pass too; not what a kernel does inside, nor `numpy()` and `tolist()` of a CPU
    tensor, which read memory that is the host's anyway.

    Attributes:
        found: Their names, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's __init__ has no types
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        """Run an operator, and keep its name if it makes the host wait."""
        result: object = func(*args, **(kwargs or {}))
        if _reads(func, args, result):
            self.found.append(str(func))
        return result


def _reads(func: OpOverload, args: tuple[object, ...], result: object) -> bool:
    name = func._schema.name
    if name in _INDEXING:  # by numbers it is a gather; by a mask, the shape hangs on the mask's values
        indices = args[1] if isinstance(args[1], (list, tuple)) else ()
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)
    if name in _FILLS and len(args) > 3 and isinstance(args[3], Tensor):
        return True
    if name in _COPIES:
        devices = {tensor.device.type for tensor in (*args, result) if isinstance(tensor, Tensor)}
        return len(devices) > 1
    return not _DATA_DEPENDENT.isdisjoint(func.tags)
