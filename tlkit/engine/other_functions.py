"""See the functions of torch that a network's modules call, and compute some of them in another way; the network is not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Function = Callable[..., Tensor | None]  # the arguments are those of torch's function; None where the library must compute it


class OtherFunctions(TorchFunctionMode):
    """A context in which functions that autograd follows are computed by others.

    Args:
        functions: A function of torch -> what computes it.
    """

    def __init__(self, functions: Mapping[Callable[..., object], Function]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Compute a call by the other function, or as torch does."""
        other = self._functions.get(func)
        if other is not None and torch.is_grad_enabled():
            found = other(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))
