"""Count the operators that torch dispatches, on tensors of a GPU that need not exist."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tlkit.engine.step.host_reads import HostReads

FAKE = torch.device("cuda:0")
# They give a tensor another shape, or name its device: no kernel runs.
VIEWS = {
    "_unsafe_view", "alias", "as_strided", "detach", "device", "diagonal", "expand", "lift_fresh", "permute", "select", "slice",
    "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_reshape_alias", "empty", "empty_like",
    "new_empty", "empty_strided", "unfold",
}  # fmt: skip


class Operators(TorchDispatchMode):
    """Write down every operator that starts a kernel, and every copy between the host and a device."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.uploads = 0
        self.bytes = 0  # that the kernels read and write, each tensor of them once
        self.reads: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # torch's signature
        name = func._schema.name.partition("::")[2]
        if name.startswith("_fused_"):  # in place, and unknown to tensors without values
            self.kernels.append(name)
            return None
        with HostReads() as reads:
            result = func(*args, **(kwargs or {}))
        places = {each.device.type for each in (*args, result) if isinstance(each, torch.Tensor)}
        if name in ("_to_copy", "copy_") and len(places) > 1:
            if isinstance(result, torch.Tensor) and result.device.type == "cuda":
                self.uploads += 1
            else:
                self.reads.append(str(func))
        elif reads.found:
            self.reads.append(str(func))
        elif name not in VIEWS and func.namespace != "prim":
            self.kernels.append(name)
            self.bytes += sum(map(_bytes, (*tree_leaves((args, kwargs)), *tree_leaves(result))))
        return result


def _bytes(value: object) -> int:
    """Bytes of a tensor, without those that an expanded one has several times."""
    if not isinstance(value, torch.Tensor):
        return 0
    return math.prod(size for size, stride in zip(value.shape, value.stride(), strict=True) if stride) * value.element_size()


@contextmanager
def on_a_gpu_that_is_not_there() -> Iterator[None]:
    """Let tensors be made on `FAKE`: they have a shape, a type and a device, and no values."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
