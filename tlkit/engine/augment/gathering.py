"""Take the pixels of each picture of a batch from places in it, by one of a few maps."""

from __future__ import annotations

import torch
from torch import Tensor


def gathered(pictures: Tensor, maps: Tensor, which: Tensor) -> Tensor:
    """Return pictures whose pixels are taken from where a map says.

    Args:
        pictures: (n, H, W, C).
        maps: (m, H * W) int32, number of the pixel to take, row by row.
        which: (n,) the map of each picture.
    """
    pixels = pictures.shape[1] * pictures.shape[2]
    total = len(pictures) * pixels
    whole = torch.int32 if total < 1 << 31 else torch.int64
    first = torch.arange(0, total, pixels, dtype=whole, device=pictures.device)
    places = maps.index_select(0, which)  # (n, H * W)
    return pictures.flatten(0, 2).index_select(0, (places + first[:, None]).flatten()).view(pictures.shape)
