"""Stored outputs of leading stages, as batches on a device: from the device's own memory where all fit, else read ahead."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlkit.engine import transfer
from tlkit.engine.images.device_batches import BLOCK, slices
from tlkit.engine.images.pictures import Indices
from tlkit.engine.images.residency import Residency
from tlkit.store.segments import Located

_UPLOADED = 16 << 20  # bytes of rows that are read and copied at a time where all of them stay on a device


@dataclass(eq=False)
class StoredRows:
    """Stored outputs of leading stages for the images of one part.

    Attributes:
        stages: How many leading stages.
        located: A row per view and image, view by view.
        indices: The part's, ascending.
        views: Which views, ascending; that of an epoch is the epoch, counted on from `before`, modulo `period`.
        period: Views in all.
        before: Epochs that were trained before the run.
        dtype: The type of a row's values; bfloat16 and float16 are stored as their bits.
        channels_last: A row is (h, w, C).
        resident: All rows, on a device; None where they are read from the store.
    """

    stages: int
    located: Located
    indices: Indices
    views: tuple[int, ...]
    period: int
    before: int
    dtype: torch.dtype
    channels_last: bool
    resident: Tensor | None = None

    def batches(self, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
        """Yield outputs (size, ...) of images of an epoch, from 0, on a device; the last batch may be shorter."""
        offset = self.views.index((self.before + epoch) % self.period) * len(self.indices)
        rows = np.searchsorted(self.indices, order) + offset
        if self.resident is not None:
            for block in slices(rows, max(1, BLOCK // size) * size):
                places = transfer.upload(block, device)
                for start in range(0, len(block), size):
                    yield self._shaped(self.resident.index_select(0, places[start : start + size]))
        elif device.type == "cpu":
            for chosen in slices(rows, size):
                # in torch's own memory, whose alignment is the same as that of what is computed
                read = torch.empty(len(chosen), *self.located.shape, dtype=self.dtype)
                self._read(chosen, read)
                yield self._shaped(read)
        else:
            for read in self._ahead(slices(rows, size), size, device):
                yield self._shaped(read)

    def settle_(self, device: torch.device, residency: Residency, *, beside: int) -> None:
        """Keep all rows on a device if there is room beside the bytes that training needs."""
        if not residency.admit(self, len(self.located) * self._bytes(), device, beside=beside):
            return
        with contextlib.suppress(torch.OutOfMemoryError):
            resident, at = torch.empty(len(self.located), *self.located.shape, dtype=self.dtype, device=device), 0
            size = max(1, _UPLOADED // self._bytes())
            for rows in self._ahead(slices(np.arange(len(self.located)), size), size, device):
                resident[at : at + len(rows)] = rows
                at += len(rows)
            self.resident = resident

    @property
    def resident_bytes(self) -> int:
        """Bytes on a device."""
        return 0 if self.resident is None else self.resident.nbytes

    def leave_(self) -> None:
        """Give the memory of a device back; rows are read from the store from now on."""
        self.resident = None

    def _bytes(self) -> int:
        return math.prod(self.located.shape) * self.dtype.itemsize

    def _ahead(self, chosen: Iterator[Indices], size: int, device: torch.device) -> Iterator[Tensor]:
        return transfer.ahead(
            self._read, chosen, rows=size, shape=self.located.shape, dtype=self.dtype, copier=transfer.copier(device)
        )

    def _read(self, chosen: Indices, out: Tensor) -> None:
        bits = self.dtype.itemsize == 2
        self.located.gather(chosen, out=out.view(torch.int16).numpy().view(np.uint16) if bits else out.numpy())

    def _shaped(self, rows: Tensor) -> Tensor:
        return rows.permute(0, 3, 1, 2) if self.channels_last and rows.ndim == 4 else rows
