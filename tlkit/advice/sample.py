"""Choose a class-balanced sample of training images, so that a larger sample holds every smaller one. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PER_CLASS = 300  # images of a class, at most
USUAL = 600  # images in all, at most, where that is two of each class or more
MOST = 2_000  # and where it is not


def order(strata: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return images in an order of which every beginning has as many of each class as any other, as far as there are so many.

    Args:
        strata: The class of each image of the split (N,); of several labels what stands for them.
        indices: The images to choose from.
    """
    shuffled = np.random.default_rng(0).permutation(np.sort(indices))
    mine = strata[shuffled]
    rank = np.zeros(len(shuffled), np.int64)
    for each in np.unique(mine):
        rank[mine == each] = np.arange(int((mine == each).sum()))
    return np.asarray(shuffled[np.lexsort((mine, rank))])


def size(classes: int, available: int) -> int:
    """Return how many images a sample has at most.

    Args:
        classes: How many there are.
        available: Training images.
    """
    return min(available, PER_CLASS * classes, max(USUAL, min(2 * classes, MOST)))
