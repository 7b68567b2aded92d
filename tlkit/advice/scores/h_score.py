"""H-score with shrinkage: how much of the features' covariance lies between the classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tlkit.advice.components import rounding
from tlkit.advice.scores.examples import checked


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the shrunken H-score: tr(S^-1 (1 - a) B), 0 to classes - 1.

    S is the features' covariance, shrunken by the share `a` that Ledoit and Wolf estimate toward a multiple of the identity; B is the
    covariance of the class means. Both are divided by n. It is 0 where the features of all images are equal.

    Args:
        features: (n, d).
        labels: (n,) integers.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, or features that are not finite.

    Source: Bao et al. 2019, arXiv:2212.10082; shrunken: Ibrahim et al. 2021, arXiv:2110.06893, eq. 5.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    examples = checked(features, labels)
    count, width = examples.features.shape
    centre = examples.features.mean(0)
    centred = examples.features - centre
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    if values[0] <= rounding(examples.features):
        return 0.0
    variances = values**2 / count
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    # Between is spanned by the singular vectors too, so S is diagonal in every direction that counts.
    between = np.average(((examples.means - centre) @ right.T) ** 2, axis=0, weights=examples.counts)  # (r,)
    shrunken = (1 - shrinkage) * variances + shrinkage * variances.sum() / width
    real = shrunken > np.finfo(np.float64).eps * shrunken.max()
    return float(((1 - shrinkage) * between[real] / shrunken[real]).sum())
