"""Which pictures and rows stay on a device: one account for everything that a command trains.

The rule: whoever was used longest ago makes room first, and training has its memory before any of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

import torch

from tlkit.network import device_memory

_SLACK = 0.1  # of the free memory, for what no estimate knows: the allocator's gaps, cuDNN's workspaces


class Resident(Protocol):
    """Something that may stay on a device."""

    @property
    def resident_bytes(self) -> int:
        """Bytes that it holds there."""

    def leave_(self) -> None:
        """Give them back."""


class Residency:
    """The residents of the devices of one command.

    Args:
        free: Returns the free memory of a device in bytes, with what torch holds and nobody uses.
    """

    def __init__(self, free: Callable[[torch.device], int] = device_memory.free_memory) -> None:
        self._free = free
        self._residents: list[weakref.ref[Resident]] = []  # used longest ago first; whoever is gone has left
        self._present: list[weakref.ref[Resident]] = []  # used since `begin`

    def begin(self) -> None:
        """Begin to admit what the next phase needs together: from here on, none of it makes room for another of it."""
        self._present = []

    def admit(self, resident: Resident, bytes_: int, device: torch.device, *, beside: int) -> bool:
        """Make room for more of a resident; return whether there is.

        Args:
            resident: Who asks.
            bytes_: How many bytes it is going to allocate.
            device: Where.
            beside: Bytes that training needs beside all residents.
        """
        self.used(resident)
        present = [known() for known in self._present]
        others = [each for each in (known() for known in self._residents) if each is not None and each not in present]
        room = self._free(device) * (1 - _SLACK) - beside
        if bytes_ > room + sum(each.resident_bytes for each in others):
            return False
        for each in others:
            if bytes_ <= room:
                break
            room += each.resident_bytes
            each.leave_()
        return True

    def used(self, resident: Resident) -> None:
        """Remember that a resident is used now."""
        others = [known for known in self._residents if known() is not None and known() is not resident]
        self._residents = [*others, weakref.ref(resident)]
        self._present.append(weakref.ref(resident))
