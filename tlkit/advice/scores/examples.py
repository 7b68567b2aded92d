"""Check what a score is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlkit.errors import DataError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Features and labels as every score uses them.

    Attributes:
        features: (n, d); divided by their largest absolute value, which changes no score and keeps squares finite.
        labels: (n,); 0 to classes - 1, every one of them present.
        classes: How many there are, 2 or more.
    """

    features: Floats
    labels: Labels
    classes: int

    @property
    def counts(self) -> Labels:
        """Return the number of images of each class, (classes,)."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def means(self) -> Floats:
        """Return the mean features of each class, (classes, d)."""
        sums = np.zeros((self.classes, self.features.shape[1]))
        np.add.at(sums, self.labels, self.features)
        return sums / self.counts[:, None]


def checked(features: ArrayLike, labels: ArrayLike) -> Examples:
    """Return features and labels that a score can be computed of; labels may be any integers.

    Raises:
        ValueError: the shapes are not (n, d) and (n,), or the labels are no integers.
        DataError: there are fewer than two classes, no feature, or values that are not finite.
    """
    values, classes = np.asarray(features, np.float64), np.asarray(labels)
    if values.ndim != 2 or classes.shape != values.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"features have shape {values.shape} and labels {classes.shape} of {classes.dtype}, not (n, d) and (n,) of integers"
        )
    found, numbered = np.unique(classes, return_inverse=True)
    if len(found) < 2:
        raise DataError(f"scores: the images have {len(found)} classes.", "scores compare classes: two or more")
    if not values.shape[1]:
        raise DataError("scores: an image has 0 features.", "one or more")
    if wrong := int((~np.isfinite(values)).any(axis=1).sum()):
        raise DataError(f"scores: the features of {wrong} of {len(values)} images are not finite.", "finite numbers")
    return Examples(values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny), numbered.astype(np.int64), len(found))
