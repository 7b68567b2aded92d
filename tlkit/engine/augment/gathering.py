"""Take the pixels of each picture of a batch from places in it, by one of a few maps."""

from __future__ import annotations

import torch
from torch import Tensor


def gathered(pictures: Tensor, maps: Tensor, which: Tensor) -> Tensor:
    """Return pictures whose pixels are taken from where a map says.

    Args:
        pictures: (n, H, W, C).
        maps: (m, H * W) number of the pixel to take, row by row; -1 for none, which is 0.
        which: (n,) the map of each picture.
    """
    places = maps.index_select(0, which)  # (n, H * W)
    image = torch.arange(len(pictures), device=pictures.device)[:, None]
    taken = pictures.flatten(1, 2)[image, places.clamp(min=0)]  # (n, H * W, C)
    return taken.masked_fill_((places < 0)[:, :, None], 0).view(pictures.shape)
