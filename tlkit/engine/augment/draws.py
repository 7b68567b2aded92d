"""Random numbers without a state: each depends on seed, epoch, image and the number of the draw, and on nothing else.

The rule: every draw has a number, below, and keeps it, so an augmentation draws the same whatever else the recipe names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Uniform = NDArray[np.float64]
Positions = NDArray[np.int64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: splitmix64's step
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # shift and factor of each round of its mixing function
LAST_SHIFT = 31


class Draw(IntEnum):
    """The number of each random draw of an image; a name in the plural is the first of up to 16."""

    CROP_Y = 0
    CROP_X = 1
    FLIP = 2
    VFLIP = 3
    ANGLE = 4
    WINDOW_AREAS = 16
    WINDOW_RATIOS = 32
    WINDOW_Y = 48
    WINDOW_X = 49
    JITTER_ORDER = 64
    BRIGHTNESS = 65
    CONTRAST = 66
    SATURATION = 67
    HUE = 68
    ERASE = 80
    ERASE_Y = 81
    ERASE_X = 82
    ERASE_NOISE = 83
    ERASE_AREAS = 96
    ERASE_RATIOS = 112
    MIX_KIND = 128
    MIX_PARTNER = 129
    MIX_SHARE = 130
    MIX_Y = 131
    MIX_X = 132
    OPERATIONS = 144
    SIGNS = 160
    ELASTIC = 256  # the first of up to 512


@dataclass(frozen=True)
class Draws:
    """The random numbers of some images in one epoch.

    Attributes:
        seed: The run's seed.
        epoch: From 0.
        images: (n,) positions in the data set.
    """

    seed: int
    epoch: int
    images: Positions

    def uniform(self, draw: int) -> Uniform:
        """Return (n,) numbers in [0, 1)."""
        return uniform(self.seed, self.epoch, self.images, draw)

    def between(self, draw: int, low: float | Uniform, high: float | Uniform) -> Uniform:
        """Return (n,) numbers from low to high; both (n,) where each image has its own."""
        return low + (high - low) * self.uniform(draw)

    def below(self, draw: int, count: int | Positions) -> Positions:
        """Return (n,) whole numbers from 0 to count - 1; count (n,) where each image has its own."""
        return (self.uniform(draw) * count).astype(np.int64)

    def states(self, draw: int) -> NDArray[np.uint64]:
        """Return (n,) what `noise` begins from."""
        return _state(self.seed, self.epoch, self.images, draw)


def noise(state: NDArray[np.uint64], count: int) -> NDArray[np.uint8]:
    """Return (count,) random bytes of one image, from its state (1,)."""
    numbers = _mix(state + np.arange(1, -(-count // 8) + 1, dtype=np.uint64) * GOLDEN)
    return numbers.astype("<u8").view(np.uint8)[:count]  # the same bytes on machines of either byte order


def uniform(seed: int, epoch: int, images: Positions, draw: int) -> Uniform:
    """Return a number in [0, 1) per image that depends on nothing but the arguments.

    Args:
        seed: The run's seed.
        epoch: From 0.
        images: (n,) positions in the data set.
        draw: Number of the draw.

    Source: the mixing function of splitmix64, Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
    """
    return (_state(seed, epoch, images, draw) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _state(seed: int, epoch: int, images: Positions, draw: int) -> NDArray[np.uint64]:
    """Return (n,) numbers of 64 bits."""
    state = np.full(len(images), seed, dtype=np.uint64)
    for part in (epoch, images, draw):
        counter = np.broadcast_to(np.asarray(part).astype(np.uint64), state.shape)  # arrays wrap around, scalars warn
        state = _mix(state + (counter + np.uint64(1)) * GOLDEN)
    return state


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ROUNDS:
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(LAST_SHIFT))
