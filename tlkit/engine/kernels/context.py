"""What autograd gives a kernel's `forward` and `backward` to keep things in, with its types.

torch's own `FunctionCtx` declares neither the tensors that are saved nor which gradients are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """The context of a `torch.autograd.Function`. A kernel's own has what it keeps beside tensors as further attributes.

    Attributes:
        saved_tensors: What `forward` saved, in `backward`.
        needs_input_grad: Which arguments of `forward` need a gradient.
    """

    saved_tensors: Sequence[Tensor]
    needs_input_grad: Sequence[bool]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `backward`."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say that `forward` changed these of its arguments."""
