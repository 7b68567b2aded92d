"""Fit many logistic regressions at a time: each on some of the rows of one matrix, with a penalty of its own.

Each reaches the minimum of scikit-learn's LogisticRegression. Fitted together they take two large matrix products a step in place of
many small ones. The minimum is looked for in float32; what is returned is computed in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_STEPS = 200
_SLOPE = 1e-4  # of a fit's mean loss, along inputs scaled to unit curvature, at which it ends
_CURVATURE = 0.25  # of the loss along the score of a class: p (1 - p) is never more


def fit(
    inputs: Values, labels: NDArray[np.int64], seen: NDArray[np.bool_], strengths: Values, classes: int, *, start: Values | None = None
) -> tuple[Values, Values]:  # fmt: skip
    """Return the probabilities (k, f, n) of all rows by each fit, and the weights (k, f, d + 1).

    Args:
        inputs: (n, d), without correlation, as principal components are: correlated ones take more steps.
        labels: The classes (n,).
        seen: (f, n) the rows that each fit sees, at least one; a class of which it sees none has probability 0.
        strengths: (f,) scikit-learn's C, the inverse of the penalty.
        classes: How many, k.
        start: Weights to begin from; 0 if not given.
    """
    from scipy.optimize import minimize

    rows = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)  # (n, d + 1)
    (fits, count), width = seen.shape, rows.shape[1]
    share = seen / seen.sum(1, keepdims=True)  # (f, n): each fit's loss is a mean
    absent = np.stack([~seen[:, labels == each].any(1) for each in range(classes)])  # (k, f)
    # Softmax has two vectors of weights for two classes, scikit-learn one, their difference: half the penalty.
    penalty = np.repeat((2.0 if classes == 2 else 1.0) / (strengths * seen.sum(1))[:, None], width, axis=1)  # (f, d + 1)
    penalty[:, -1] = 0.0  # of the constant
    scale = 1 / np.sqrt(_CURVATURE * share @ rows**2 + penalty)  # (f, d + 1)
    quick, image, part = rows.astype(np.float32), np.arange(count), share.astype(np.float32)

    def loss(scaled: Values) -> tuple[float, Values]:
        weights = scaled.reshape(classes, fits, width) * scale
        found = _scores(quick, weights.astype(np.float32), absent)
        own = np.where(seen.T, found[labels, :, image], 0.0)  # (n, f)
        np.exp(found, out=found)
        total = found.sum(0)  # (f, n)
        value = (share * (np.log(total) - own.T)).sum() + 0.5 * (penalty * weights**2).sum()
        found *= part / total
        found[labels, :, image] -= part.T
        slope = (found.reshape(classes * fits, count) @ quick).reshape(weights.shape) + penalty * weights
        return float(value), (slope * scale).ravel()

    begin = np.zeros((classes, fits, width)) if start is None else start / scale
    ended = minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": _SLOPE})
    weights = ended.x.reshape(begin.shape) * scale
    found = np.exp(_scores(rows, weights, absent))
    return found / found.sum(0), weights


def _scores(rows: NDArray[Any], weights: NDArray[Any], absent: NDArray[np.bool_]) -> NDArray[Any]:
    """Return what the softmax of each fit takes (k, f, n), at most 0; minus infinity for classes that are absent (k, f)."""
    classes, fits, width = weights.shape
    found: NDArray[Any] = (weights.reshape(classes * fits, width) @ rows.T).reshape(classes, fits, len(rows))
    found[absent] = -np.inf
    found -= found.max(0)
    return found
