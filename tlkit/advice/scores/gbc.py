"""GBC: how much the classes overlap as Gaussians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tlkit.advice.components import principal_components
from tlkit.advice.scores.examples import checked

_COMPONENTS = 64  # Pándy et al. 2022, section 4
_LEAST_VARIANCE = 1e-6  # of a class, of the variance of all images


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the negated Bhattacharyya coefficients of all ordered pairs of classes; classes * (1 - classes) to 0.

    Each class is a Gaussian with one variance in all directions, of at most 64 principal components. A class of one image has no variance
    of its own and takes the mean variance inside the classes that have.

    Args:
        features: (n, d).
        labels: (n,) integers.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, or features that are not finite.

    Source: Pándy et al. 2022, arXiv:2111.12780, eq. 3 and 4, spherical covariances.
    """
    examples = checked(features, labels)
    components = principal_components(examples.features, most=_COMPONENTS)
    width = components.shape[1]
    if not width:
        return float(examples.classes * (1 - examples.classes))
    reduced = checked(components, examples.labels)
    means, counts = reduced.means, reduced.counts
    squares = ((reduced.features - means[reduced.labels]) ** 2).mean(1)  # (n,)
    sums = np.bincount(reduced.labels, squares, reduced.classes)
    several = counts > 1
    shared = sums[several].sum() / max(int(counts[several].sum()), 1)
    least = _LEAST_VARIANCE * float((reduced.features**2).mean())
    variances = np.maximum(np.where(several, sums / counts, shared), least)
    together = variances[:, None] + variances  # (classes, classes)
    apart = (means**2).sum(1)[:, None] + (means**2).sum(1) - 2 * means @ means.T
    distances = np.maximum(apart, 0.0) / (4 * together) + width / 2 * np.log(
        together / (2 * np.sqrt(variances[:, None] * variances))
    )
    coefficients = np.exp(-distances)
    np.fill_diagonal(coefficients, 0.0)
    return -float(coefficients.sum())
