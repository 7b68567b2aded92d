"""How far apart the features of two domains are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_POWERS = (-2, -1, 0, 1, 2)  # of 2, times the mean squared distance: the kernels of DAN's authors


def proxy_a(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Return the proxy A-distance: 0 where a linear classifier cannot tell the domains apart, 2 where it always can.

    2 (1 - 2 e), with e the error of a logistic regression on standardised features that says which domain an image is of, by five-fold
    cross-validation; both domains count equally. An error above 1/2 counts as 1/2.

    Args:
        source: (N, F), two images at least.
        target: (M, F), two images at least.

    Source: Ben-David et al. 2007, "Analysis of representations for domain adaptation", section 4; Ganin et al. 2016, arXiv:1505.07818.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, domain = _both(source, target)
    folds = StratifiedKFold(min(5, len(source), len(target)), shuffle=True, random_state=0)
    # As strong a penalty as the published heads on frozen features have; without one, few images of many features fit anything.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    error = 1 - float(balanced_accuracy_score(domain, cross_val_predict(model, x, domain, cv=folds)))
    return 2 * (1 - 2 * min(error, 0.5))


def mmd(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Return the squared maximum mean discrepancy with five Gaussian kernels, about 0 for domains of one distribution.

    The unbiased estimate, so it may be a little below 0. The kernels' widths are 1/4, 1/2, 1, 2 and 4 times the mean squared distance.

    Args:
        source: (N, F), N >= 2.
        target: (M, F), M >= 2.

    Source: Gretton et al. 2012, JMLR 13, eq. 3; kernels: Long et al. 2015, arXiv:1502.02791.
    """
    x, domain = _both(source, target)
    squares = (x**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    np.fill_diagonal(distances, 0)
    width = float(distances.sum() / (len(x) * (len(x) - 1)))
    if width == 0:
        return 0.0
    kernel = sum(np.exp(-distances / (width * 2.0**power)) for power in _POWERS) / len(_POWERS)
    of_source, of_target = domain == 0, domain == 1
    within = _mean_of_pairs(kernel[np.ix_(of_source, of_source)]) + _mean_of_pairs(kernel[np.ix_(of_target, of_target)])
    return within - 2 * float(kernel[np.ix_(of_source, of_target)].mean())


def covariance(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Return the distance between covariances, |C_s - C_t|^2 / (4 F^2) by Frobenius; 0 for equal ones.

    Features are standardised by the mean and deviation that both domains have together, so that the unit of a stage does not matter.

    Args:
        source: (N, F), N >= 2.
        target: (M, F), M >= 2.

    Source: Sun & Saenko 2016, arXiv:1607.01719, eq. 1.
    """
    x, domain = _both(source, target)
    deviation = x.std(0)
    z = (x - x.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    apart = np.atleast_2d(np.cov(z[domain == 0].T)) - np.atleast_2d(np.cov(z[domain == 1].T))
    return float((apart**2).sum() / (4 * x.shape[1] ** 2))


DISTANCES: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "proxy_a": proxy_a, "mmd": mmd, "covariance": covariance,
}  # fmt: skip


def between(source: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    """Return every distance by its name.

    Args:
        source: (N, F), two images at least.
        target: (M, F), two images at least.
    """
    return {name: distance(source, target) for name, distance in DISTANCES.items()}


def _both(source: NDArray[Any], target: NDArray[Any]) -> tuple[Values, NDArray[np.int64]]:
    """Return the features of both (N + M, F), and the domain of each, 0 of the source."""
    x = np.concatenate([np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)])
    return x, np.repeat([0, 1], [len(source), len(target)])


def _mean_of_pairs(kernel: Values) -> float:
    """Return the mean of a kernel (n, n) over pairs of different images."""
    return float((kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)))
