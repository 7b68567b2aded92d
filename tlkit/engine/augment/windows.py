"""Draw windows of random area and shape, as random resized crops and random erasing do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.augment.draws import Draws, Positions

Shapes = NDArray[np.float64]  # width / height
Sides = tuple[int | Positions, int | Positions]

_ATTEMPTS = 10  # at a window of random area and shape that fits, as in torchvision


@dataclass(frozen=True)
class Windows:
    """A window's size per picture, in pixels.

    Attributes:
        height: (n,).
        width: (n,).
        fits: (n,) whether one of the attempts did; where none did, the window is the largest of a permitted shape, and drawn its
            place all the same (torchvision takes the middle).
        size: Height and width of the pictures, of all or (n,) of each.
    """

    height: Positions
    width: Positions
    fits: NDArray[np.bool_]
    size: Sides

    def room(self) -> tuple[Positions, Positions]:
        """Return how many places each has, down and across."""
        return self.size[0] + 1 - self.height, self.size[1] + 1 - self.width


def windows(
    draws: Draws,
    scale: tuple[float, float],
    ratio: tuple[float | Shapes, float | Shapes],
    *,
    size: Sides,
    first: tuple[int, int],
) -> Windows:
    """Draw windows with an even area and an even logarithm of width / height, as torchvision does.

    Args:
        draws: Random numbers of these pictures.
        scale: Smallest and largest area, as a part of the picture's.
        ratio: Smallest and largest width / height, of all or (n,) of each.
        size: Height and width of the pictures, of all or (n,) of each.
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
