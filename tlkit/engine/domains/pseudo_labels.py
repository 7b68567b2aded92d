"""Labels for target images that have none, from a classifier that was fitted to the source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError

THRESHOLD = 0.9  # of the largest probability


def prototypes(features: NDArray[Any], probabilities: NDArray[Any], *, rounds: int = 2) -> NDArray[np.int64]:
    """Return the class of the nearest prototype for each target image, by the cosine.

    A prototype is the mean of the target features of a class: first weighted by the classifier's probabilities, and in each
    further round of the images that the last round gave to the class. A class to which no image is given keeps its prototype.

    Args:
        features: (M, F) target features, in the space that the classifier reads.
        probabilities: (M, C) of the classes, by the classifier.
        rounds: How often labels are given. 1 or more.

    Returns:
        (M,) classes, 0 to C - 1.

    Raises:
        DataError: there is no image, the numbers of images differ, a number is not finite, or `rounds` is less than 1.

    Source: SHOT, Liang, Hu & Feng 2020, arXiv:2002.08546, eq. 4 to 6.
    """
    x, weights = _checked(features, probabilities)
    if rounds < 1:
        raise DataError(f"adapt: rounds is {rounds}.", "1 or more, for instance 2")
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    means = np.zeros((weights.shape[1], x.shape[1]))
    labels = np.zeros(len(x), dtype=np.int64)
    for _ in range(rounds):
        mass = weights.sum(0)
        means[mass > 0] = (weights.T @ unit)[mass > 0] / mass[mass > 0, None]
        length = np.maximum(np.linalg.norm(means, axis=1), np.finfo(np.float64).tiny)
        labels = np.argmax(unit @ means.T / length, axis=1)
        weights = np.eye(weights.shape[1])[labels]
    return labels


def confident(probabilities: NDArray[Any], *, threshold: float = THRESHOLD) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the target images of whose class the classifier is sure, and these classes.

    Args:
        probabilities: (M, C) of the classes, by the classifier.
        threshold: Least probability of the likeliest class, above 0 and at most 1.

    Returns:
        Positions (K,) of the images, in ascending order, and their classes (K,). There may be none.

    Raises:
        DataError: there is no image, a number is not finite, or `threshold` is not above 0 and at most 1.

    Source: Lee 2013, "Pseudo-label"; the threshold as in FixMatch, Sohn et al. 2020, arXiv:2001.07685, eq. 4.
    """
    _, given = _checked(probabilities, probabilities)
    if not 0 < threshold <= 1:
        raise DataError(f"adapt: threshold is {threshold:g}.", f"above 0 and at most 1, for instance {THRESHOLD}")
    sure = np.flatnonzero(given.max(1) >= threshold)
    return sure, np.argmax(given[sure], axis=1)


def _checked(features: NDArray[Any], probabilities: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, given = np.asarray(features, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if not len(x) or x.ndim != 2 or given.ndim != 2 or len(x) != len(given):
        raise DataError(
            f"adapt: features have shape {x.shape} and probabilities {given.shape}.", "(images, features), (images, classes)"
        )
    if not (np.isfinite(x).all() and np.isfinite(given).all()):
        raise DataError("adapt: features or probabilities are not finite numbers.", "other weights, or another head.embed")
    return x, given
