"""Change brightness, contrast, saturation and hue of a batch, each image by its own random amount.

Pixels are float32 whole numbers, 0 to 255, as (n, 3, H, W). The rule: every product and every sum is rounded by itself, and no
sum over pixels is taken in float32, so a picture comes out the same bit for bit in any batch and at any place in it.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment.draws import Draw, Draws
from tlkit.recipe.augmentations import ColorJitter

Amounts = NDArray[np.float64]

_LUMA = (0.2989, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601, as torchvision writes it
_ORDERS = np.array(list(permutations(range(4))))  # (24, 4)


def jitter(pictures: Tensor, table: ColorJitter, draws: Draws) -> Tensor:
    """Change the colours of each picture by amounts, and in an order, drawn for it.

    Args:
        pictures: (n, H, W, 3) uint8.
        table: How far at most.
        draws: Random numbers of these pictures.

    Returns:
        (n, H, W, 3) uint8.
    """
    order = _ORDERS[draws.below(Draw.JITTER_ORDER, len(_ORDERS))]  # (n, 4)
    steps = (
        (brightness, table.brightness, Draw.BRIGHTNESS, 1),
        (contrast, table.contrast, Draw.CONTRAST, 1),
        (saturation, table.saturation, Draw.SATURATION, 1),
        (hue, table.hue, Draw.HUE, 0),
    )
    x = planar(pictures)
    for turn in range(len(steps)):
        for step, (change, most, draw, middle) in enumerate(steps):
            chosen = np.flatnonzero(order[:, turn] == step)
            if most and len(chosen):
                amounts = draws.between(draw, middle - most, middle + most)
                index = torch.from_numpy(chosen).to(x.device)
                x[index] = change(x[index], amounts[chosen])
    return packed(x)


def planar(pictures: Tensor) -> Tensor:
    """Return (n, H, W, 3) uint8 as (n, 3, H, W) float32."""
    return pictures.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


def packed(x: Tensor) -> Tensor:
    """Return (n, 3, H, W) float32 whole numbers as (n, H, W, 3) uint8."""
    return x.permute(0, 2, 3, 1).to(torch.uint8, memory_format=torch.contiguous_format)


def brightness(x: Tensor, factors: Amounts) -> Tensor:
    """Return pixels times a factor per image."""
    return (x * _each(factors, x)).clamp_(0, 255).floor_()


def contrast(x: Tensor, factors: Amounts) -> Tensor:
    """Return pixels blended with the picture's mean grey: 0 is all grey, 1 the picture."""
    grey = _grey(x).sum((1, 2, 3), dtype=torch.float64) / (x.shape[2] * x.shape[3])  # (n,); whole numbers add up exactly
    return blend(x, grey.float()[:, None, None, None], factors)


def saturation(x: Tensor, factors: Amounts) -> Tensor:
    """Return pixels blended with their own grey: 0 is all grey, 1 the picture."""
    return blend(x, _grey(x), factors)


def hue(x: Tensor, turns: Amounts) -> Tensor:
    """Return pixels turned on the colour circle, by 1 for the whole circle.

    Source: HSV as a function of the sextant, f(n) = v - c max(0, min(k, 4 - k, 1)) with k = (n + h) mod 6 and n = 5, 3, 1
    for red, green, blue; Smith 1978, "Color gamut transform pairs".
    """
    red, green, blue = x.unbind(1)  # (n, H, W) each
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = chroma.clamp(min=1)  # where it is 0 the numerator is too
    sextant = torch.where(
        value == red,
        (green - blue).div_(divisor),
        torch.where(value == green, (blue - red).div_(divisor).add_(2), (red - green).div_(divisor).add_(4)),
    ).add_(_each(6 * turns, x)[:, 0])  # -4 to 8
    turned = torch.empty_like(x)
    for channel, start in enumerate((5, 3, 1)):
        k = sextant + start
        k -= (k / 6).floor_().mul_(6)
        share = torch.minimum(k, 4 - k).clamp_(0, 1)
        turned[:, channel] = value - share.mul_(chroma)
    return turned.round_()


def blend(x: Tensor, other: Tensor, factors: Amounts) -> Tensor:
    """Return other + (x - other) * factor per image, cut to 0 to 255 and rounded down: x itself, exactly, where both are alike."""
    return (x - other).mul_(_each(factors, x)).add_(other).clamp_(0, 255).floor_()


def _grey(x: Tensor) -> Tensor:
    """Return (n, 1, H, W), rounded down."""
    red, green, blue = (x[:, channel : channel + 1] * weight for channel, weight in enumerate(_LUMA))
    return red.add_(green).add_(blue).floor_()


def _each(amounts: Amounts, x: Tensor) -> Tensor:
    """Return (n, 1, 1, 1) float32 on the device of x."""
    return torch.from_numpy(amounts.astype(np.float32)).to(x.device)[:, None, None, None]
