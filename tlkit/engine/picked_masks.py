"""Keep which class a network gives each pixel while all pictures of a part are evaluated, so that a report can draw them.

The rule: few pictures are kept, all of them. Of many, those that a report draws are a small part, and pass the network again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.engine.host_rows import HostRows
from tlkit.engine.ranks.ranks import Shared
from tlkit.tasks import mask_rows

MOST = 64 << 20  # bytes of all pictures, one for each pixel: 200 pictures of DRIVE, 256 of 512 x 512


class PickedMasks:
    """Keeps the class of each pixel, where all pictures of the part take at most `MOST` bytes.

    Args:
        shared: The pictures of the part that this process evaluates.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._kept = HostRows()
        self._fits = True

    def add_(self, logits: Tensor) -> None:
        """Keep the pictures of the next batch: logits (n, classes, H, W), whose height and width are the same in every batch."""
        self._fits = self._shared.total * logits[0, 0].numel() <= MOST
        if self._fits:
            self._kept.add_(mask_rows.best(logits).to(torch.uint8))

    def together(self) -> Tensor | None:
        """Return the class of each pixel (N, H, W) uint8 of the pictures of all processes; None where they are too many."""
        return self._shared.together(self._kept.together()) if self._fits else None
