"""Gather on the host what a device computes in batches: many batches are copied at a time, but before they fill the device."""

from __future__ import annotations

import torch
from torch import Tensor

# Bytes on the device before they are copied, 256 MB: a copy waits for the device, which then has nothing to do.
_AT_ONCE = 1 << 28


class HostRows:
    """Rows (N, ...) of all batches, in order."""

    def __init__(self) -> None:
        self._there: list[Tensor] = []
        self._here: list[Tensor] = []
        self._bytes = 0

    def add_(self, rows: Tensor) -> None:
        """Add those of a batch."""
        self._there.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= _AT_ONCE:
            self._copy_()

    def together(self) -> Tensor:
        """Return all of them on the host."""
        self._copy_()
        return torch.cat(self._here) if len(self._here) > 1 else self._here[0]

    def _copy_(self) -> None:
        if self._there:
            self._here.append(torch.cat(self._there).cpu())
        self._there, self._bytes = [], 0
