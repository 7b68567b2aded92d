"""A map of images: the two directions in which their features differ most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = float(np.finfo(np.float32).max)  # in the place of what is not finite


def project(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the first two principal components (N, 2) of features (N, F), and the part of the variance that each explains.

    The sign of a component is that with which its largest value is positive.
    """
    wide = np.nan_to_num(features.astype(np.float64), posinf=_MOST, neginf=-_MOST)
    centred = wide - wide.mean(0)
    gram = centred @ centred.T  # (N, N)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    points = np.zeros((len(features), 2))
    for place in range(min(2, len(features))):
        column = vectors[:, place] * np.sqrt(values[place])
        points[:, place] = column if column[np.abs(column).argmax()] >= 0 else -column
    shares = values[:2] / max(values.sum(), 1e-30)
    padded = [*shares.tolist(), 0.0, 0.0]
    return points.astype(np.float32), (padded[0], padded[1])
