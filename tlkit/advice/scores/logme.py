"""LogME: the largest evidence of a linear model from features to classes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tlkit.advice.scores.examples import Floats, checked

# Ratio of the weights' precision to the noise's, of the largest squared singular value. Where a linear model of fewer weights than images
# fits a class exactly, its evidence grows without end as the ratio falls, and ends here instead.
_LEAST, _MOST = 1e-8, 1e8
_GRID = 97  # ratios tried before the best is refined


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Return LogME: the log evidence of a Bayesian linear model, in nats an image, mean over the classes.

    A model of each class predicts 1 for its images and 0 for all others from the features, without an intercept. Its weights have
    precision alpha and its noise has precision beta, both where the evidence is largest. That point is searched for rather than iterated
    to as the paper does, so a start cannot decide which of two maxima is found.

    Args:
        features: (n, d).
        labels: (n,) integers.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, or features that are not finite.

    Source: You et al. 2021, arXiv:2102.11005, eq. 2 and algorithm 1.
    """
    examples = checked(features, labels)
    left, values, _ = np.linalg.svd(examples.features, full_matrices=False)
    targets = np.eye(examples.classes)[examples.labels]  # (n, classes)
    projected = (left.T @ targets) ** 2  # (r, classes)
    outside = np.maximum((targets**2).sum(0) - projected.sum(0), 0.0)
    squares = values**2 / max(float(values[0]) ** 2, np.finfo(np.float64).tiny)
    return float(
        np.mean(
            [_largest_evidence(squares, projected[:, each], outside[each], len(targets)) for each in range(examples.classes)]
        )
    )


def _largest_evidence(squares: Floats, projected: Floats, outside: float, count: int) -> float:
    """Return the largest log evidence of one class over both precisions, divided by the number of images.

    Args:
        squares: Squared singular values of the features, (r,), the largest 1.
        projected: Squares of the target in the directions of the singular vectors, (r,).
        outside: The sum of its squares in all other directions.
        count: Images.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_ratio: float) -> float:
        growth = 1.0 + squares / np.exp(log_ratio)  # variance in each direction, in units of the noise's
        noise = (float((projected / growth).sum()) + outside) / count  # its best variance at this ratio
        return 0.5 * (math.log(2 * math.pi * noise) + 1.0 + float(np.log(growth).sum()) / count)

    grid = np.linspace(np.log(_LEAST), np.log(_MOST), _GRID)
    losses = [loss(each) for each in grid]
    best = int(np.argmin(losses))
    around = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    refined = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return -min(float(refined.fun), losses[best])
