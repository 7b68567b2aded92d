"""Turn each picture of a batch by an angle of its own, in whole steps or by any number of degrees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment.draws import Positions, Uniform

Colour = tuple[float, ...]  # red, green, blue, or a value of each band


def quarter_turned(pictures: Tensor, quarters: Positions) -> Tensor:
    """Turn each picture (n, H, W, channels) by so many quarters, counterclockwise; H = W where one is odd."""
    return torch.stack([p.rot90(int(k), (0, 1)) for p, k in zip(pictures, quarters, strict=True)])


def turned(pictures: Tensor, degrees: Uniform, fill: Colour) -> Tensor:
    """Turn each picture (n, H, W, channels), uint8 or float32, by its angle, counterclockwise, between pixels bilinearly.

    As torchvision.transforms.functional.rotate does, except that a pixel at the edge is blended with the fill once, not twice.
    """
    cosine, sine = (torch.from_numpy(each).to(pictures.device) for each in cosine_and_sine(degrees))
    return turned_by(pictures, cosine, sine, torch.tensor(fill, dtype=torch.float32, device=pictures.device))


def cosine_and_sine(degrees: Uniform) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosine and the sine of each angle (n,)."""
    angles = np.deg2rad(degrees)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def turned_by(pictures: Tensor, cosine: Tensor, sine: Tensor, outside: Tensor) -> Tensor:
    """Do as `turned`, with the cosine and sine of each angle (n,) and the colour (channels,) float32 on the device."""
    return sampled(pictures, _sources(cosine, sine, int(pictures.shape[1]), int(pictures.shape[2])), outside)


def sampled(pictures: Tensor, grid: Tensor, outside: Tensor) -> Tensor:
    """Return pictures (n, H, W, channels) whose pixels come from other places, between pixels bilinearly.

    Args:
        pictures: uint8 or float32.
        grid: Where each pixel comes from (n, H, W, 2), as torch's grid_sample takes it.
        outside: Colour (channels,) float32 of what lies outside of a picture.
    """
    x = (pictures - outside).permute(0, 3, 1, 2).contiguous()  # (n, 3, H, W); what lies outside is 0
    found = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    blended = found.permute(0, 2, 3, 1).add(outside)
    return (blended.round_().clamp_(0, 255).to(torch.uint8) if pictures.dtype == torch.uint8 else blended).contiguous()


def nearest_turned(masks: Tensor, degrees: Uniform, outside: int) -> Tensor:
    """Turn each mask (n, H, W) uint8 by its angle as `turned` does its picture; each pixel has the value of the nearest one.

    Args:
        masks: On the CPU.
        degrees: Counterclockwise.
        outside: Value of what lies outside.
    """
    cosine, sine = (torch.from_numpy(each) for each in cosine_and_sine(degrees))
    return nearest_sampled(masks, _sources(cosine, sine, int(masks.shape[1]), int(masks.shape[2])), outside)


def nearest_sampled(masks: Tensor, grid: Tensor, outside: int) -> Tensor:
    """Return masks (n, H, W) uint8 whose pixels have the value of the pixel nearest to another place: see `sampled`."""
    x = (masks.float() - outside)[:, None]  # (n, 1, H, W); what lies outside is 0
    found = functional.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return found[:, 0].add(outside).round_().to(torch.uint8)


def _sources(cosine: Tensor, sine: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel of a turned picture comes from (n, H, W, 2): across and down, -1 to 1."""
    cosine, sine = cosine.view(-1, 1, 1), sine.view(-1, 1, 1)
    down = torch.arange(height, device=cosine.device).sub((height - 1) / 2)[None, :, None]  # pixels from the middle
    across = torch.arange(width, device=cosine.device).sub((width - 1) / 2)[None, None, :]
    return torch.stack([(across * cosine - down * sine) * (2 / width), (across * sine + down * cosine) * (2 / height)], dim=3)
