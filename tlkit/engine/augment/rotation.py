"""Turn each picture of a batch by an angle of its own, in whole steps or by any number of degrees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment.draws import Draw, Draws, Uniform
from tlkit.recipe.augmentations import Rotate

Colour = tuple[int, int, int]  # red, green, blue


def rotate(pictures: Tensor, table: Rotate, draws: Draws, fill: Colour) -> Tensor:
    """Turn pictures about their middle, counterclockwise.

    Args:
        pictures: (n, H, W, 3) uint8; H = W where `table.steps` is 90.
        table: By steps of a half or a quarter turn, each as likely, or by any angle from -degrees to degrees.
        draws: Random numbers of these pictures.
        fill: Colour of what a turn by degrees uncovers.

    Returns:
        (n, H, W, 3) uint8.
    """
    if table.steps is None:
        return turned(pictures, draws.between(Draw.ANGLE, -table.degrees, table.degrees), fill)
    quarters = draws.below(Draw.ANGLE, 360 // table.steps) * (table.steps // 90)
    return torch.stack([p.rot90(int(k), (0, 1)) for p, k in zip(pictures, quarters, strict=True)])


def turned(pictures: Tensor, degrees: Uniform, fill: Colour) -> Tensor:
    """Turn each picture (n, H, W, 3) uint8 by its angle, counterclockwise, between pixels bilinearly.

    As torchvision.transforms.functional.rotate does, except that a pixel at the edge is blended with the fill once, not twice.
    """
    count, height, width = pictures.shape[:3]
    outside = torch.tensor(fill, dtype=torch.float32, device=pictures.device)
    x = (pictures - outside).permute(0, 3, 1, 2).contiguous()  # (n, 3, H, W); what lies outside is 0
    angles = np.deg2rad(degrees)
    cosine, sine = (
        torch.from_numpy(values.astype(np.float32)).to(x.device).view(count, 1, 1)
        for values in (np.cos(angles), np.sin(angles))
    )
    down = torch.arange(height, device=x.device).sub((height - 1) / 2)[None, :, None]  # pixels from the middle
    across = torch.arange(width, device=x.device).sub((width - 1) / 2)[None, None, :]
    grid = torch.stack(
        [(across * cosine - down * sine) * (2 / width), (across * sine + down * cosine) * (2 / height)], dim=3
    )  # (n, H, W, 2): where each pixel comes from, -1 to 1
    sampled = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.permute(0, 2, 3, 1).add(outside).round_().clamp_(0, 255).to(torch.uint8).contiguous()
