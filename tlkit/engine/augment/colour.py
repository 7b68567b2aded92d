"""Change brightness, contrast, saturation and hue of a batch, each image by its own random amount.

Pixels are float32 whole numbers, 0 to 255, as (n, 3, H, W). The rule: every product and every sum is rounded by itself, and no
sum over pixels is taken in float32, so a picture comes out the same bit for bit in any batch and at any place in it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment.draws import Positions
from tlkit.recipe.augmentations import ColorJitter

Amounts = NDArray[np.float64]

_LUMA = (0.2989, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601, as torchvision writes it


def jitter(pictures: Tensor, table: ColorJitter, order: Positions, amounts: Amounts) -> Tensor:
    """Change the colours of each picture by amounts, and in an order, drawn for it.

    Args:
        pictures: (n, H, W, 3) uint8.
        table: What is changed at all.
        order: (n, 4) the changes in the order in which they follow: 0 brightness, 1 contrast, 2 saturation, 3 hue.
        amounts: (n, 4) how far each goes.

    Returns:
        (n, H, W, 3) uint8.
    """
    steps = ((brightness, table.brightness), (contrast, table.contrast), (saturation, table.saturation), (hue, table.hue))
    x = planar(pictures)
    for turn in range(len(steps)):
        for step, (change, most) in enumerate(steps):
            chosen = np.flatnonzero(order[:, turn] == step)
            if most and len(chosen):
                index = torch.from_numpy(chosen)
                x[index] = change(x[index], amounts[chosen, step])
    return packed(x)


def jitter_batch(pictures: Tensor, table: ColorJitter, order: Tensor, amounts: Tensor) -> Tensor:
    """Do as `jitter`, bit for bit, by operators on the whole batch, whose number does not depend on what was drawn.

    Args:
        pictures: (n, H, W, 3) uint8.
        table: What is changed at all.
        order: (n, 4) as `jitter` has it.
        amounts: (n, 4) float32; the hue's in sextants, six times what `jitter` has.

    Returns:
        (n, H, W, 3) uint8.
    """
    x, none, one = planar(pictures), torch.zeros((), device=pictures.device), torch.ones((), device=pictures.device)
    for turn in range(order.shape[1]):
        step = order[:, turn]
        amount = amounts.gather(1, step[:, None])  # (n, 1)
        step = step[:, None, None, None]
        other = none
        if table.contrast:
            other = torch.where(step == 1, mean_grey(x), other)
        if table.saturation:
            other = torch.where(step == 2, grey(x), other)
        changed = blended(x, other, torch.where(step == 3, one, amount[:, :, None, None]))
        x = torch.where(step == 3, turned_sextants(x, amount[:, :, None, None]), changed) if table.hue else changed
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
    return blend(x, mean_grey(x), factors)


def mean_grey(x: Tensor) -> Tensor:
    """Return the mean (n, 1, 1, 1) float32 of the grey levels of pixels (n, 3, H, W)."""
    return mean_of(grey(x))


def mean_of(levels: Tensor) -> Tensor:
    """Return the mean (n, 1, 1, 1) float32 of levels (n, 1, H, W)."""
    whole = levels.sum((1, 2, 3), dtype=torch.float64) / (
        levels.shape[2] * levels.shape[3]
    )  # (n,); whole numbers add up exactly
    return whole.float()[:, None, None, None]


def saturation(x: Tensor, factors: Amounts) -> Tensor:
    """Return pixels blended with their own grey: 0 is all grey, 1 the picture."""
    return blend(x, grey(x), factors)


def hue(x: Tensor, turns: Amounts) -> Tensor:
    """Return pixels turned on the colour circle, by 1 for the whole circle."""
    return turned_sextants(x, _each(6 * turns, x))


def turned_sextants(x: Tensor, sextants: Tensor) -> Tensor:
    """Return pixels turned on the colour circle, by (n, 1, 1, 1) sextants: 6 are the whole circle.

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
    ).add_(sextants[:, 0])  # -4 to 8
    k = sextant[:, None] + torch.arange(5, 0, -2, device=x.device)[:, None, None]  # (n, 3, H, W)
    k -= (k / 6).floor_().mul_(6)
    share = torch.minimum(k, 4 - k).clamp_(0, 1)
    return (value[:, None] - share.mul_(chroma[:, None])).round_()


def blend(x: Tensor, other: Tensor, factors: Amounts) -> Tensor:
    """Return pixels blended with others, by a factor per image."""
    return blended(x, other, _each(factors, x))


def blended(x: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """Return other + (x - other) * factor, cut to 0 to 255 and rounded down: x itself, exactly, where both are alike."""
    return ((x - other) * factors).add_(other).clamp_(0, 255).floor_()


def grey(x: Tensor) -> Tensor:
    """Return (n, 1, H, W), rounded down."""
    red, green, blue = (x[:, channel : channel + 1] * weight for channel, weight in enumerate(_LUMA))
    return red.add_(green).add_(blue).floor_()


def _each(amounts: Amounts, x: Tensor) -> Tensor:
    """Return (n, 1, 1, 1) float32 on the device of x."""
    return torch.from_numpy(amounts.astype(np.float32)).to(x.device)[:, None, None, None]
