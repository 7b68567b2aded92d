"""Move the pixels of each picture of a batch by a smooth field of its own, and those of its mask by the same one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment.draws import Draw, Draws
from tlkit.engine.augment.rotation import nearest_sampled, sampled
from tlkit.recipe.augmentations import Elastic

_LEAST = 2.0**-53  # a draw may be 0, of which there is no quantile


def shifts(table: Elastic, draws: Draws) -> NDArray[np.float32]:
    """Return by how many pixels each point of the grid is moved, down and across: (n, 2, points, points), normally distributed."""
    from scipy.special import ndtri

    count = 2 * table.points**2
    even = np.stack([draws.uniform(Draw.ELASTIC + number) for number in range(count)], axis=1)
    found: NDArray[np.float32] = (table.pixels * ndtri(np.maximum(even, _LEAST))).astype(np.float32)
    return found.reshape(len(even), 2, table.points, table.points)


def moved(pictures: Tensor, by: Tensor, outside: Tensor) -> Tensor:
    """Move the pixels of pictures (n, H, W, channels), between pixels bilinearly.

    Args:
        pictures: uint8 or float32.
        by: (n, 2, points, points) float32, as `shifts` has them, on the same device.
        outside: Colour (channels,) float32 of what lies outside of a picture.
    """
    return sampled(pictures, _sources(by, int(pictures.shape[1]), int(pictures.shape[2])), outside)


def nearest_moved(masks: Tensor, by: NDArray[np.float32], outside: int) -> Tensor:
    """Move the pixels of masks (n, H, W) uint8 on the CPU as `moved` those of their pictures; each has the value of the nearest one."""
    return nearest_sampled(masks, _sources(torch.from_numpy(by), int(masks.shape[1]), int(masks.shape[2])), outside)


def _sources(by: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel comes from (n, H, W, 2): across and down, -1 to 1. The grid's outer points are the picture's corners."""
    field = functional.interpolate(by, size=(height, width), mode="bicubic", align_corners=True)  # (n, 2, H, W)
    down = (torch.arange(height, device=by.device) + 0.5)[:, None] + field[:, 0]
    across = (torch.arange(width, device=by.device) + 0.5)[None, :] + field[:, 1]
    return torch.stack([across * (2 / width) - 1, down * (2 / height) - 1], dim=3)
