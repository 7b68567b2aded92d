"""Principal components of features. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def principal_components(features: Floats, *, most: int | None = None, energy: float = 1.0) -> Floats:
    """Return the features in the directions of their largest variance, less their mean.

    Args:
        features: (n, d).
        most: At most so many directions. Where these are few they are found by scikit-learn's randomized method, and hold all but a
            thousandth of the variance of the exact ones, also of noise.
        energy: As few directions as hold this share of the variance, 0 to 1.

    Returns:
        (n, c); c is 0 where the features of all images are equal.
    """
    centred = features - features.mean(0)
    if most is not None and 2 * most < min(centred.shape) and energy == 1.0:
        from sklearn.utils.extmath import randomized_svd

        left, values, _ = randomized_svd(centred, most, n_iter=7, random_state=0)
    else:
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
    variances = values**2
    real = values > rounding(features)
    needed = int(np.searchsorted(np.cumsum(variances), (energy - 1e-12) * variances.sum())) + 1
    kept = min(int(real.sum()), needed, len(values) if most is None else most)
    projected: Floats = left[:, :kept] * values[:kept]
    return projected


def rounding(features: Floats) -> float:
    """Return the largest singular value that rounding alone gives features (n, d) that are equal, less their mean."""
    return float(max(features.shape) * np.finfo(np.float64).eps * np.abs(features).max())
