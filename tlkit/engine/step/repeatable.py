"""Take a training step with operators that give the same bits every time, or find out which of them cannot.

The rule: torch refuses an operator that has no such algorithm only when it is run. So the first step of a phase is a trial, and what
it changed before the refusal is put back.

Source: https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

# What torch says of an operator that has no deterministic algorithm, of attention that takes another one, and of cuBLAS without its setting.
REFUSAL = "does not have a deterministic|non-deterministic algorithm|operation is not deterministic"


class Repeatable:
    """Runs steps with deterministic algorithms alone until an operator refuses, and from then on with whatever there is.

    Attributes:
        refused: What torch said of the operator, in one line; empty where every step gives the same bits again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.refused = ""

    def __call__(self, step: Callable[[], None], changes: Mapping[str, Tensor] | None) -> None:
        """Take a step.

        Args:
            step: Takes it.
            changes: What it changes before its optimizer runs, by name, where it is the first step of its kind; else None.
        """
        if self.refused:
            step()
            return
        before = None if changes is None else _State(changes, self._device)
        try:
            with _strict():
                step()
        except RuntimeError as error:
            if before is None or not re.search(REFUSAL, str(error)):
                raise
            self.refused = _reason(str(error))
            before.put_back_()
            step()


def _reason(text: str) -> str:
    """Return what torch says, without its advice."""
    line = text.partition("\n")[0].partition(". ")[0]
    return line.partition(", but you set")[0]


class _State:
    """Tensors and the states of the generators that dropout draws from, as they are now."""

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._tensors = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]
        self._cpu = torch.get_rng_state()
        self._gpu = (device, torch.cuda.get_rng_state(device)) if device.type == "cuda" else None

    @torch.no_grad()
    def put_back_(self) -> None:
        for tensor, was in self._tensors:
            tensor.copy_(was)
        torch.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu[1], self._gpu[0])


@contextmanager
def _strict() -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
