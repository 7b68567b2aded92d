"""Apply a recipe's augmentations to a batch: every image by draws of its own, which depend on seed, epoch and image alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment.colour import jitter
from tlkit.engine.augment.draws import Draw, Draws, Positions
from tlkit.engine.augment.randaugment import randaugment
from tlkit.engine.augment.rotation import Colour, rotate
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size

Shapes = NDArray[np.float64]  # width / height

_ATTEMPTS = 10  # at a window of random area and shape that fits, as in torchvision


def augment(
    pictures: Tensor,
    tables: Sequence[Augmentation],
    *,
    size: Size,
    seed: int,
    epoch: int,
    images: Positions,
    fill: Colour = (0, 0, 0),
    shapes: Shapes | None = None,
) -> Tensor:
    """Apply augmentations in the order of the list, all but mixup and cutmix, which `mix` applies to normalised images.

    Args:
        pictures: (n, H, W, 3) uint8; larger than `size` where a crop is named, or of any size where it is resized too, else of that size.
        tables: The recipe's data.augment.
        size: Height and width of the result, pixels.
        seed: The run's seed.
        epoch: From 0; with fixed views, the number of the view.
        images: (n,) positions in the data set, the key of each image's draws.
        fill: Colour of what a rotation uncovers: the mean colour of the weights.
        shapes: (n,) width / height of the images that `pictures` hold whole, squashed to one size; None where they have their own shape.

    Returns:
        (n, *size, 3) uint8 on the device of pictures.
    """
    draws = Draws(seed, epoch, images)
    for table in tables:
        pictures = _apply(pictures, table, draws, size, fill, shapes)
    return pictures


def _apply(pictures: Tensor, table: Augmentation, draws: Draws, size: Size, fill: Colour, shapes: Shapes | None) -> Tensor:
    match table:
        case augmentations.RandomCrop():
            return _random_crop(pictures, draws, size)
        case augmentations.RandomResizedCrop():
            return _random_resized_crop(pictures, table, draws, size, shapes)
        case augmentations.HFlip():
            flips = draws.uniform(Draw.FLIP) < table.p
            return torch.stack([p.flip(1) if flip else p for p, flip in zip(pictures, flips.tolist(), strict=True)])
        case augmentations.VFlip():
            flips = draws.uniform(Draw.VFLIP) < table.p
            return torch.stack([p.flip(0) if flip else p for p, flip in zip(pictures, flips.tolist(), strict=True)])
        case augmentations.Rotate():
            return rotate(pictures, table, draws, fill)
        case augmentations.ColorJitter():
            return jitter(pictures, table, draws)
        case augmentations.RandomErasing():
            return _random_erasing(pictures, table, draws)
        case augmentations.RandAugment():
            return randaugment(pictures, table, draws)
        case augmentations.Mixup() | augmentations.Cutmix():
            return pictures


def _random_crop(pictures: Tensor, draws: Draws, size: Size) -> Tensor:
    height, width = size
    y = draws.below(Draw.CROP_Y, pictures.shape[1] - height + 1)
    x = draws.below(Draw.CROP_X, pictures.shape[2] - width + 1)
    return torch.stack([p[t : t + height, s : s + width] for p, t, s in zip(pictures, y, x, strict=True)])


def _random_resized_crop(
    pictures: Tensor, table: augmentations.RandomResizedCrop, draws: Draws, size: Size, shapes: Shapes | None
) -> Tensor:
    """Cut windows of the input's shape, times `ratio`, as they are in the original: a squashed window has the same part of the area."""
    height, width = pictures.shape[1:3]
    squashed: Shapes | float = 1.0 if shapes is None else (width / height) / shapes
    aspect = width / height if shapes is None else size[1] / size[0]
    ratio = table.ratio[0] * aspect * squashed, table.ratio[1] * aspect * squashed
    drawn = windows(draws, table.scale, ratio, size=(height, width), first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS))
    top, left = (draws.below(draw, room) for draw, room in zip((Draw.WINDOW_Y, Draw.WINDOW_X), drawn.room(), strict=True))
    boxes = np.stack([top, left, top + drawn.height, left + drawn.width], axis=1).tolist()
    crops = [picture[t:b, s:e] for picture, (t, s, b, e) in zip(pictures, boxes, strict=True)]
    if pictures.device.type != "cpu":
        return torch.stack([resized(crop, size) for crop in crops])
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.stack(list(pool.map(lambda crop: resized(crop, size), crops)))


def resized(picture: Tensor, size: Size) -> Tensor:
    """Resize (h, w, 3) uint8 to (*size, 3): bilinear, antialiased.

    On the CPU torch resizes bytes as such where the channels are the innermost, as exactly as Pillow (within a grey level): 0.26
    to 0.29 ms at 224 pixels, Pillow 0.57, as floats 0.88 (least of 25 batches of 32, two cores of an AMD EPYC, in two threads).
    """
    x = picture.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)  # (1, 3, h, w)
    if picture.device.type != "cpu":
        x = x.float()
    x = functional.interpolate(x, size=size, mode="bilinear", antialias=True)
    return (x if x.dtype == torch.uint8 else x.round_().clamp_(0, 255).to(torch.uint8))[0].permute(1, 2, 0)


def _random_erasing(pictures: Tensor, table: augmentations.RandomErasing, draws: Draws) -> Tensor:
    """Fill windows with a byte drawn for every pixel and channel: RE-R of Zhong et al. 2017, the filling that they use.

    Their values are 0 to 255, so it is done to pixels, in its place in the list, and not after normalising.
    """
    drawn = windows(
        draws,
        table.scale,
        table.ratio,
        size=(pictures.shape[1], pictures.shape[2]),
        first=(Draw.ERASE_AREAS, Draw.ERASE_RATIOS),
    )
    top, left = (draws.below(draw, room) for draw, room in zip((Draw.ERASE_Y, Draw.ERASE_X), drawn.room(), strict=True))
    pictures = pictures.clone()
    for image in np.flatnonzero((draws.uniform(Draw.ERASE) < table.p) & drawn.fits).tolist():
        height, width = int(drawn.height[image]), int(drawn.width[image])
        noise = draws.noise(Draw.ERASE_NOISE, image, height * width * 3).reshape(height, width, 3)
        window = pictures[image, top[image] : top[image] + height, left[image] : left[image] + width]
        window.copy_(torch.from_numpy(noise))
    return pictures


@dataclass(frozen=True)
class Windows:
    """A window's size per picture, in pixels.

    Attributes:
        height: (n,).
        width: (n,).
        fits: (n,) whether one of the attempts did; where none did, the window is the largest of a permitted shape, and drawn its
            place all the same (torchvision takes the middle).
        size: Height and width of the pictures.
    """

    height: Positions
    width: Positions
    fits: NDArray[np.bool_]
    size: Size

    def room(self) -> tuple[Positions, Positions]:
        """Return how many places each has, down and across."""
        return self.size[0] + 1 - self.height, self.size[1] + 1 - self.width


def windows(
    draws: Draws,
    scale: tuple[float, float],
    ratio: tuple[float | Shapes, float | Shapes],
    *,
    size: Size,
    first: tuple[int, int],
) -> Windows:
    """Draw windows with an even area and an even logarithm of width / height, as torchvision does.

    Args:
        draws: Random numbers of these pictures.
        scale: Smallest and largest area, as a part of the picture's.
        ratio: Smallest and largest width / height, of all or (n,) of each.
        size: Height and width of the pictures.
        first: Draws of the first attempt's area and ratio.
    """
    (low, high), (tall, wide) = ratio, size
    count = len(draws.images)
    width = _whole(np.minimum(wide, tall * np.broadcast_to(high, count)))
    height = _whole(np.minimum(tall, wide / np.broadcast_to(low, count)))
    fits = np.zeros(len(draws.images), dtype=np.bool_)
    for attempt in range(_ATTEMPTS):
        area = tall * wide * draws.between(first[0] + attempt, *scale)
        shape = np.exp(draws.between(first[1] + attempt, np.log(low), np.log(high)))
        across, down = (np.rint(np.sqrt(each)).astype(np.int64) for each in (area * shape, area / shape))
        taken = ~fits & (across >= 1) & (down >= 1) & (across <= wide) & (down <= tall)
        width, height, fits = np.where(taken, across, width), np.where(taken, down, height), fits | taken
    return Windows(height, width, fits, size)


def _whole(sides: NDArray[np.float64]) -> Positions:
    return np.maximum(1, np.rint(sides)).astype(np.int64)
