"""Augmentations of a whole batch at a time, as an accelerator works: few operators, whose number the batch does not change.

The rule: nothing here asks the device for a number (what was drawn is known on the host too), and every operator treats a picture by
itself, so a picture's bits do not depend on its batch. The pictures are those of the CPU's form within a grey level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment import colour, draws, elastic
from tlkit.engine.augment.batched_randaugment import BatchedRandAugment
from tlkit.engine.augment.gathering import gathered
from tlkit.engine.augment.parameters import Parameters, after
from tlkit.engine.augment.rotation import Colour, cosine_and_sine, turned_by
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size

Drawn = Mapping[str, Tensor]


def as_arrays(
    table: Augmentation, drawn: Parameters, batches: Sequence[slice] = (slice(None),)
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Return parameters as a device wants them: float32, whole numbers of 64 bits, truth values.

    Args:
        table: The augmentation.
        drawn: Its parameters (n, ...).
        batches: Which of the n pictures are a batch each, all of them together.
    """
    match table:
        case augmentations.Rotate(steps=None):
            cosine, sine = cosine_and_sine(drawn["degrees"])
            return {"cosine": cosine, "sine": sine}
        case augmentations.ColorJitter():
            sextants = np.array([1, 1, 1, 6])
            return {"order": drawn["order"], "amounts": (drawn["amounts"] * sextants).astype(np.float32)}
        case augmentations.RandAugment():
            codes = BatchedRandAugment.codes(drawn["operations"], drawn["negative"])
            return {**BatchedRandAugment.sorted_by_kind(table, codes, batches)}
        case _:
            return {name: array.view(np.int64) if array.dtype == np.uint64 else array for name, array in drawn.items()}


class Batched:
    """The augmentations of a recipe for batches of pictures of one size.

    Args:
        tables: The recipe's data.augment.
        held: Height and width of the pictures.
        size: Height and width of the result.
        fill: Colour of what a rotation uncovers or a crop adds.
        erase_with: Colour that random_erasing fills windows with; None for noise.
        device: The device that pictures are on.
    """

    def __init__(
        self, tables: Sequence[Augmentation], *, held: Size, size: Size, fill: Colour, device: torch.device,
        erase_with: Colour | None = None,
    ) -> None:  # fmt: skip
        self._tables, self._size = tables, size
        self._fill = torch.tensor(fill, dtype=torch.float32, device=device)
        self._erase_with = None if erase_with is None else torch.tensor(erase_with, dtype=torch.float32, device=device)
        self._turns: dict[int, Tensor] = {}  # by the place of a table in the list
        self._operations: dict[int, BatchedRandAugment] = {}
        for place, table in enumerate(tables):
            if isinstance(table, augmentations.Rotate) and table.steps is not None:
                self._turns[place] = torch.from_numpy(_quarters(held, table.steps)).to(device)
            if isinstance(table, augmentations.RandAugment):
                self._operations[place] = BatchedRandAugment(table, held, device)
            held = after(table, held, size)

    def __call__(self, pictures: Tensor, drawn: Sequence[Drawn], known: Sequence[Parameters]) -> Tensor:
        """Return (n, *size, channels) of the type of pictures.

        Args:
            pictures: (n, *held, 3) uint8, or (n, *held, bands) uint8 or float32.
            drawn: The parameters (n, ...) of each augmentation on the device, as `as_arrays` has them.
            known: The same parameters, on the host.
        """
        for place, (table, each, here) in enumerate(zip(self._tables, drawn, known, strict=True)):
            pictures = self._apply(pictures, place, table, each, here)
        return pictures

    def _apply(self, pictures: Tensor, place: int, table: Augmentation, drawn: Drawn, known: Parameters) -> Tensor:
        match table:
            case augmentations.RandomCrop():
                if table.padding is not None:
                    pictures = padded(pictures, table.padding, self._fill)
                return crop(pictures, drawn["top"], drawn["left"], self._size)
            case augmentations.RandomResizedCrop():
                return resized_crop(pictures, drawn, self._size)
            case augmentations.HFlip():
                return torch.where(drawn["flip"][:, None, None, None], pictures.flip(2), pictures)
            case augmentations.VFlip():
                return torch.where(drawn["flip"][:, None, None, None], pictures.flip(1), pictures)
            case augmentations.Rotate(steps=None):
                return turned_by(pictures, drawn["cosine"], drawn["sine"], self._fill)
            case augmentations.Rotate():
                return gathered(pictures, self._turns[place], drawn["quarters"])
            case augmentations.Elastic():
                return elastic.moved(pictures, drawn["shifts"], self._fill)
            case augmentations.ColorJitter():
                return colour.jitter_batch(pictures, table, drawn["order"], drawn["amounts"])
            case augmentations.RandomErasing():
                return erase(pictures, drawn, self._erase_with)
            case augmentations.RandAugment():
                codes = BatchedRandAugment.codes(known["operations"], known["negative"])
                return self._operations[place](pictures, drawn, codes)
            case augmentations.Mixup() | augmentations.Cutmix():
                return pictures


def padded(pictures: Tensor, padding: int, colour: Tensor) -> Tensor:
    """Return (n, H + 2 * padding, W + 2 * padding, channels): pictures (n, H, W, channels) in the middle of a colour (channels,)."""
    count, height, width, channels = pictures.shape
    shape = (count, height + 2 * padding, width + 2 * padding, channels)
    whole = colour.to(pictures.dtype).expand(shape).contiguous()
    whole[:, padding : padding + height, padding : padding + width] = pictures
    return whole


def crop(pictures: Tensor, top: Tensor, left: Tensor, size: Size) -> Tensor:
    """Cut a window (n, *size, 3) out of each picture (n, H, W, 3), at its own place."""
    device = pictures.device
    image = torch.arange(len(pictures), device=device)[:, None, None]
    rows = top[:, None] + torch.arange(size[0], device=device)  # (n, h)
    columns = left[:, None] + torch.arange(size[1], device=device)  # (n, w)
    return pictures[image, rows[:, :, None], columns[:, None, :]]


def resized_crop(pictures: Tensor, drawn: Drawn, size: Size) -> Tensor:
    """Resize a window of each picture (n, H, W, channels) to (n, *size, channels): bilinear, antialiased, first across and then down."""
    held = int(pictures.shape[1]), int(pictures.shape[2])
    (down, down_weights), (across, across_weights) = _both_taps(drawn, held, size)
    x = _resized(pictures, 2, across, across_weights)
    y = _resized(x, 1, down, down_weights)
    # Weights are at least 0 and add up to 1, within rounding: no whole number is below 0 or above 255.
    return y.round_().to(torch.uint8) if pictures.dtype == torch.uint8 else y


def _resized(pictures: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """Return pictures (n, H, W, channels) as float32, resized along an axis, 1 or 2, by taps (n, size, taps)."""
    shape = list(pictures.shape)
    shape[axis] = places.shape[1]
    whole: Tensor | None = None
    for taps in zip(places.unbind(2), weights.unbind(2), strict=True):  # (n, size) each
        place, weight = (each.unsqueeze(3 - axis)[..., None] for each in taps)
        part = pictures.gather(axis, place.expand(shape)) * weight
        whole = part if whole is None else whole.add_(part)
    assert whole is not None
    return whole


def _both_taps(drawn: Drawn, held: Size, size: Size) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return `_taps` down and across: those of square pictures and a square result are computed together."""
    if held[0] != held[1] or size[0] != size[1]:
        return _taps(drawn["top"], drawn["height"], held[0], size[0]), _taps(drawn["left"], drawn["width"], held[1], size[1])
    start, length = torch.cat([drawn["top"], drawn["left"]]), torch.cat([drawn["height"], drawn["width"]])
    places, weights = _taps(start, length, held[0], size[0])
    (down, across), (down_weights, across_weights) = places.chunk(2), weights.chunk(2)
    return (down, down_weights), (across, across_weights)


def _taps(start: Tensor, length: Tensor, held: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the pixels that each pixel of a resized window is made of, and their weights.

    A pixel of the result is the mean of the pixels under a triangle around its middle, as wide as the window is reduced, and two
    pixels wide at least: torch.nn.functional.interpolate, mode bilinear, antialias.

    Args:
        start: (n,) the window's first pixel.
        length: (n,) its pixels.
        held: Pixels of the picture: no window has more.
        size: Pixels of the result.

    Returns:
        (n, size, taps), and float32 weights that add up to 1.
    """
    taps = math.ceil(2 * max(1.0, held / size))
    scale = length.float()[:, None] / size  # (n, 1)
    reach = scale.clamp(min=1)
    middle = scale * (torch.arange(size, device=start.device) + 0.5)  # (n, size)
    first = (middle - reach + 0.5).floor()
    places = first[:, :, None] + torch.arange(taps, device=start.device)  # (n, size, taps)
    weights = (1 - ((places + 0.5 - middle[:, :, None]) / reach[:, :, None]).abs()).clamp(min=0)
    last = (length[:, None, None] - 1).float()
    inside = torch.minimum(places.clamp(min=0), last)
    weights *= places == inside
    weights /= weights.sum(2, keepdim=True)
    return inside.long() + start[:, None, None], weights


def erase(pictures: Tensor, drawn: Drawn, colour: Tensor | None = None) -> Tensor:
    """Fill windows of those pictures (n, H, W, channels) that are erased: with bytes drawn for every pixel and channel, or a colour."""
    count, height, width = pictures.shape[:3]
    y = torch.arange(height, device=pictures.device)[None, :, None] - drawn["top"][:, None, None]  # (n, H, 1)
    x = torch.arange(width, device=pictures.device)[None, None, :] - drawn["left"][:, None, None]  # (n, 1, W)
    rows, columns = drawn["height"][:, None, None], drawn["width"][:, None, None]
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns) & drawn["erased"][:, None, None]  # (n, H, W)
    if colour is not None:
        return torch.where(inside[..., None], colour.to(pictures.dtype), pictures)
    number = (y * columns + x).clamp_(0, height * width - 1)  # of the pixel in its window, row by row
    image = torch.arange(count, device=pictures.device)[:, None, None]
    return torch.where(inside[..., None], _noise(drawn["noise"], height * width)[image, number], pictures)


def _noise(state: Tensor, pixels: int) -> Tensor:
    """Return (n, at least `pixels`, 3) random bytes, those of `draws.noise`; 64-bit arithmetic wraps around here as there."""
    counter = torch.arange(1, 3 * -(-pixels // 8) + 1, device=state.device)  # eight bytes each, whole pixels in all
    z = state[:, None] + counter * _signed(int(draws.GOLDEN))
    for shift, factor in draws.ROUNDS:
        z = _shifted(z, shift) * _signed(factor)
    return _shifted(z, draws.LAST_SHIFT).view(torch.uint8).view(len(state), -1, 3)


def _shifted(z: Tensor, shift: int) -> Tensor:
    """Return z ^ (z >> shift), with zeros shifted in."""
    return z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _quarters(held: Size, steps: int) -> NDArray[np.int32]:
    """Return which pixel each pixel of a turned picture is, for 0 to 3 quarters: (4, H * W). Only turns by `steps` degrees are used."""
    whole = np.arange(held[0] * held[1], dtype=np.int32).reshape(held)
    turned = [np.rot90(whole, quarter if steps == 90 else quarter // 2 * 2) for quarter in range(4)]
    return np.stack([each.ravel() for each in turned])
