"""RandAugment: operations drawn for each picture from 14, each applied to all that drew it.

Source: Cubuk et al. 2019, arXiv:1909.13719; operations, strengths, nearest sampling and black fill as in
torchvision.transforms.RandAugment with 31 bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment import colour
from tlkit.engine.augment.draws import Positions
from tlkit.units import Size

MOST = 30  # the largest magnitude

Change = Callable[[Tensor, int], Tensor]  # pictures (k, H, W, 3) uint8, magnitude with its sign


def randaugment(pictures: Tensor, magnitude: int, operations: Positions, negative: NDArray[np.bool_]) -> Tensor:
    """Apply operations drawn for each picture.

    Args:
        pictures: (n, H, W, 3) uint8.
        magnitude: How strong.
        operations: (n, turns) numbers in `CHANGES`.
        negative: (n, turns) whether a signed operation goes the other way.

    Returns:
        (n, H, W, 3) uint8.
    """
    pictures = pictures.clone()
    for drawn, other_way in zip(operations.T, negative.T, strict=True):
        for number, (change, signed) in enumerate(CHANGES.values()):
            for sign in (1, -1) if signed else (1,):
                chosen = np.flatnonzero((drawn == number) & (other_way == (sign < 0) if signed else True))
                if len(chosen):
                    index = torch.from_numpy(chosen)
                    pictures[index] = change(pictures[index], sign * magnitude)
    return pictures


def _identity(pictures: Tensor, magnitude: int) -> Tensor:
    return pictures


def _shear_x(pictures: Tensor, magnitude: int) -> Tensor:
    return _sampled(pictures, (1, 0.3 * magnitude / MOST, 0, 1), centre=(0, 0))


def _shear_y(pictures: Tensor, magnitude: int) -> Tensor:
    return _sampled(pictures, (1, 0, 0.3 * magnitude / MOST, 1), centre=(0, 0))


def _rotate(pictures: Tensor, magnitude: int) -> Tensor:
    angle = math.radians(30 * magnitude / MOST)  # counterclockwise
    cosine, sine = math.cos(angle), math.sin(angle)
    height, width = pictures.shape[1:3]
    return _sampled(pictures, (cosine, -sine, sine, cosine), centre=(height / 2, width / 2))


def _translate_x(pictures: Tensor, magnitude: int) -> Tensor:
    return _translate_y(pictures.transpose(1, 2), magnitude).transpose(1, 2)


def _translate_y(pictures: Tensor, magnitude: int) -> Tensor:
    side = pictures.shape[1]
    by = 150 * side * abs(magnitude) // (331 * MOST)  # 150 of 331 pixels at most: Cubuk et al. 2018, arXiv:1805.09501
    moved = torch.zeros_like(pictures)
    if magnitude > 0:
        moved[:, by:] = pictures[:, : side - by]
    else:
        moved[:, : side - by] = pictures[:, by:]
    return moved


def _brightness(pictures: Tensor, magnitude: int) -> Tensor:
    return colour.packed(colour.brightness(colour.planar(pictures), _factors(pictures, magnitude)))


def _color(pictures: Tensor, magnitude: int) -> Tensor:
    return colour.packed(colour.saturation(colour.planar(pictures), _factors(pictures, magnitude)))


def _contrast(pictures: Tensor, magnitude: int) -> Tensor:
    return colour.packed(colour.contrast(colour.planar(pictures), _factors(pictures, magnitude)))


def _sharpness(pictures: Tensor, magnitude: int) -> Tensor:
    """Blend with a blur of weights 1, and 5 in the middle, of 13; the outermost pixels stay, as in Pillow."""
    x = colour.planar(pictures)
    inner = x[:, :, 1:-1, 1:-1]
    x[:, :, 1:-1, 1:-1] = colour.blend(inner, blurred(x), _factors(pictures, magnitude))
    return colour.packed(x)


def blurred(x: Tensor) -> Tensor:
    """Return the blur (n, 3, H - 2, W - 2) of pixels (n, 3, H, W) that have all their neighbours, in whole numbers."""
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    inner = x[:, :, 1:-1, 1:-1]
    return rows[..., :-2].add(rows[..., 1:-1]).add_(rows[..., 2:]).add_(inner, alpha=4).div_(13).round_()


def _posterize(pictures: Tensor, magnitude: int) -> Tensor:
    bits = round(8 - magnitude / (MOST / 4))  # that are kept
    return pictures.bitwise_and(256 - 2 ** (8 - bits))


def _solarize(pictures: Tensor, magnitude: int) -> Tensor:
    return torch.where(pictures >= 255 * (MOST - magnitude) / MOST, 255 - pictures, pictures)


def _autocontrast(pictures: Tensor, magnitude: int) -> Tensor:
    x = colour.planar(pictures)
    return colour.packed(stretched(x, x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)))


def stretched(x: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Spread the levels from the least to the most over 0 to 255, to be rounded down; where both are one, nothing changes."""
    return torch.where(most > least, ((x - least) * 255).div_((most - least).clamp_(min=1)), x)


def _equalize(pictures: Tensor, magnitude: int) -> Tensor:
    """Spread the grey levels of each channel evenly, in whole numbers as Pillow does."""
    levels = pictures.permute(0, 3, 1, 2).flatten(2).long()  # (k, 3, H W)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int64, device=levels.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    whole = torch.arange(256, device=levels.device)
    table = equalizing(counts, levels.amax(2, keepdim=True), levels.shape[2], levels=whole)
    return table.to(torch.uint8).gather(2, levels).transpose(1, 2).reshape(pictures.shape)


def equalizing(counts: Tensor, highest: Tensor, pixels: int, *, levels: Tensor) -> Tensor:
    """Return the level (k, 3, 256) that each of the levels (256,) becomes, from how many pixels have each, and the highest (k, 3, 1)."""
    step = (pixels - counts.gather(2, highest)) // 255  # (k, 3, 1)
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    return torch.where(step > 0, table, levels)


# Name in torchvision's table -> what it does, and whether its magnitude may be negative.
CHANGES: dict[str, tuple[Change, bool]] = {
    "Identity": (_identity, False),
    "ShearX": (_shear_x, True),
    "ShearY": (_shear_y, True),
    "TranslateX": (_translate_x, True),
    "TranslateY": (_translate_y, True),
    "Rotate": (_rotate, True),
    "Brightness": (_brightness, True),
    "Color": (_color, True),
    "Contrast": (_contrast, True),
    "Sharpness": (_sharpness, True),
    "Posterize": (_posterize, False),
    "Solarize": (_solarize, False),
    "AutoContrast": (_autocontrast, False),
    "Equalize": (_equalize, False),
}


def _factors(pictures: Tensor, magnitude: int) -> colour.Amounts:
    return np.full(len(pictures), 1 + 0.9 * magnitude / MOST)


def _sampled(pictures: Tensor, matrix: tuple[float, float, float, float], *, centre: tuple[float, float]) -> Tensor:
    """Take each pixel from the nearest to where a linear map about a centre leads, black from outside.

    Args:
        pictures: (k, H, W, 3) uint8.
        matrix: From the result to the picture, row by row: x from (x, y), then y.
        centre: y and x, in pixels; pixel 0 has its middle at 0.5.
    """
    size = pictures.shape[1], pictures.shape[2]
    source, outside = (torch.from_numpy(each).to(pictures.device) for each in _sources(matrix, centre, size))
    taken = pictures.flatten(1, 2).index_select(1, source)  # (k, H * W, 3)
    return taken.masked_fill_(outside[:, None], 0).view_as(pictures)


@lru_cache(maxsize=8)  # two signs of three maps; 1.3 MB each at 512 pixels
def _sources(
    matrix: tuple[float, float, float, float], centre: tuple[float, float], size: Size
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return per pixel which one to take, and whether there is none; in float64, so alike on every device."""
    (height, width), (middle_y, middle_x) = size, centre
    y, x = np.mgrid[:height, :width]
    y, x = y + (0.5 - middle_y), x + (0.5 - middle_x)
    column = np.floor(matrix[0] * x + matrix[1] * y + middle_x).astype(np.int32)
    row = np.floor(matrix[2] * x + matrix[3] * y + middle_y).astype(np.int32)
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    return np.where(outside, 0, row * np.int32(width) + column).ravel(), outside.ravel()
