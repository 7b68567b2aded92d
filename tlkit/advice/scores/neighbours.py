"""The accuracy of nearest neighbours: each image is classified by the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tlkit.advice.scores.examples import checked
from tlkit.inspection import neighbours


def nearest_neighbours(features: ArrayLike, labels: ArrayLike, *, k: int = 5) -> float:
    """Return the share of images, 0 to 1, whose class is the most frequent one among their nearest other images.

    Nearness is the cosine of features less their mean. Of classes with equally many neighbours, that of the nearest is taken.

    Args:
        features: (n, d).
        labels: (n,) integers.
        k: Neighbours, 1 or more; all other images where there are fewer.

    Raises:
        ValueError: the shapes are others, or k is less than 1.
        DataError: there are fewer than two classes, or features that are not finite.
    """
    if k < 1:
        raise ValueError(f"k is {k}, not 1 or more")
    examples = checked(features, labels)
    rows, _ = neighbours.nearest(neighbours.unit(examples.features.astype(np.float32)), min(k, len(examples.labels) - 1))
    near = examples.labels[rows]  # (n, k)
    votes = (near[:, :, None] == near[:, None, :]).sum(2)  # for the class of each neighbour
    predicted = near[np.arange(len(near)), votes.argmax(1)]
    return float((predicted == examples.labels).mean())
