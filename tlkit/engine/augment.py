"""Random changes to training images: a pure function of seed, epoch and image, drawn for each image by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Uniform = NDArray[np.float64]

_CROP_Y, _CROP_X, _FLIP = range(3)  # which draw of an image


def uniform(seed: int, epoch: int, images: NDArray[np.int64], draw: int) -> Uniform:
    """Return a number in [0, 1) per image that depends on nothing but the arguments.

    Args:
        seed: Of the run.
        epoch: From 0.
        images: (n,) positions in the data set.
        draw: Which of an image's draws.

    Source: the mixing function of splitmix64, Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
    """
    state = np.full(len(images), seed, dtype=np.uint64)
    for part in (epoch, images, draw):
        counter = np.broadcast_to(np.asarray(part).astype(np.uint64), state.shape)  # arrays wrap around, scalars warn
        state = _mix(state + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def augment(pictures: Tensor, names: Sequence[str], *, side: int, seed: int, epoch: int, images: NDArray[np.int64]) -> Tensor:
    """Apply the named augmentations.

    Args:
        pictures: (n, H, W, 3) uint8; larger than side where "random_crop" is named.
        names: "random_crop", "hflip".
        side: Pixels of the result.
        seed: Of the run.
        epoch: From 0.
        images: (n,) positions in the data set, the key of each image's draws.

    Returns:
        (n, side, side, 3) uint8.
    """
    if "random_crop" in names:
        room = pictures.shape[1] - side + 1
        y, x = ((uniform(seed, epoch, images, draw) * room).astype(int) for draw in (_CROP_Y, _CROP_X))
        pictures = torch.stack([p[t : t + side, s : s + side] for p, t, s in zip(pictures, y, x, strict=True)])
    if "hflip" in names:
        flips = torch.from_numpy(uniform(seed, epoch, images, _FLIP) < 0.5)
        pictures = torch.where(flips[:, None, None, None], pictures.flip(2), pictures)
    return pictures


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
