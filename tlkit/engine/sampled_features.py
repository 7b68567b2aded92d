"""Keep what the head reads of some images while all images of a part are evaluated, so that a report can place them on a map."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tlkit.engine import transfer
from tlkit.engine.images.pictures import Indices
from tlkit.engine.ranks.ranks import Shared
from tlkit.network.network import pool
from tlkit.plans import even_sample
from tlkit.tasks import Sampled

_MOST = 400  # images
_BYTES = 8 << 20  # of their features, which are 10^5 numbers an image where a head reads every value of a feature map


class SampledFeatures:
    """Keeps the features of images at even distances, at most 400 images and 8 MiB.

    Args:
        shared: The images of the part that this process evaluates.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._own: Indices | None = None  # where the images that are kept are among those of this process
        self._places = torch.empty(0, dtype=torch.int64)  # the same on the device, uploaded once
        self._rows: Indices = np.empty(0, np.int64)
        self._kept: list[Tensor] = []
        self._passed = 0

    def add_(self, read: Tensor) -> None:
        """Keep some rows of the next batch: what the head reads (n, ...)."""
        features = torch.flatten(pool(read), 1)
        if self._own is None:
            self._rows = evenly(self._shared.total, features.shape[1])
            self._own = self._shared.some(self._rows)
            self._places = transfer.upload(self._own, features.device)
        first, last = np.searchsorted(self._own, (self._passed, self._passed + len(features)))
        chosen = self._places[first:last] - self._passed
        self._kept.append(features[chosen].float())  # on the device: it is copied to the host once, at the end
        self._passed += len(features)

    def together(self) -> Sampled:
        """Return the features that all processes kept."""
        return Sampled(self._rows, self._shared.some_together(torch.cat(self._kept).cpu()).numpy())


def evenly(images: int, width: int) -> Indices:
    """Return the rows, at even distances, of the images whose features of `width` numbers are kept."""
    return even_sample.positions(images, min(_MOST, max(2, _BYTES // (4 * width))))
