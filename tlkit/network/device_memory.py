"""Memory of a device that training may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from tlkit import machine

Purpose = Literal["step", "evaluation", "prefix"]


class Exhausted(MemoryError):
    """Memory that ran out, and in what: a training step, an evaluation, or the computation of rows that are stored."""

    def __init__(self, purpose: Purpose) -> None:
        super().__init__(purpose)
        self.purpose = purpose


def spent_on(purpose: Purpose) -> AbstractContextManager[None]:
    """Raise Exhausted of memory that runs out within the block: it says in what."""
    return exhaustion_as(lambda _: Exhausted(purpose))


@contextmanager
def exhaustion_as(told: Callable[[Exception], Exception]) -> Iterator[None]:
    """Raise another error where memory runs out within the block.

    Args:
        told: Returns it, given what was raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not machine.is_out_of_memory(error):
            raise
        raise told(error) from error


@contextmanager
def spared() -> Iterator[None]:
    """Leave the block where memory runs out: what it does can be spared."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not machine.is_out_of_memory(error):
            raise


def free_memory(device: torch.device) -> int:
    """Return the bytes of a device that nobody uses: on a GPU also those that torch keeps for later."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return machine.free_memory()


def untaken_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that nobody has taken, once torch has given back what it keeps for later but for graphs, which share nothing."""
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])


def usable_memory(device: torch.device) -> int:
    """Return the bytes of a device that this process can have: on a GPU with what its own tensors take now.

    So what depends on it does not depend on what ran before.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    return machine.free_memory()
