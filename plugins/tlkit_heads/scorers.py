"""The scores by which a search for a solved head's parameter goes, as scikit-learn calls them: (estimator, features, labels) -> score.

The rule: a class that the estimator has not seen, or that the scored images lack, is no error: a rare class is not in every fold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import TlkitError

Scorer = Callable[[Any, NDArray[np.float32], NDArray[np.int64]], float]
_LEAST = 1e-7  # probability of a class that was not seen, and of one that the estimator is sure not to see


def scorer(select_by: str, estimator: Any) -> str | Scorer:
    """Return what GridSearchCV takes as `scoring`; more is better.

    Args:
        select_by: A metric of a single label: "accuracy", for instance.
        estimator: Whose parameter is searched for.

    Raises:
        TlkitError: the estimator cannot be scored by it.
    """
    if select_by in ("accuracy", "balanced_accuracy"):
        return select_by
    if select_by == "f1":
        return "f1_macro"
    known = {"auroc": area, "loss": minus_loss}
    if select_by not in known:
        raise TlkitError(
            f"select_by: a search for a head's parameter cannot go by {select_by}.", "accuracy, balanced_accuracy or f1"
        )
    if not hasattr(estimator, "predict_proba") and (select_by == "loss" or not hasattr(estimator, "decision_function")):
        raise TlkitError(
            f"select_by: {select_by} needs probabilities, and this head gives none.", "accuracy, balanced_accuracy or f1"
        )
    return known[select_by]


def area(estimator: Any, features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the area under the ROC curve of each class against the rest, mean over the classes for which there is one."""
    from sklearn.metrics import roc_auc_score

    columns = _columns(estimator, features)
    found = [
        roc_auc_score(labels == label, column)
        for label, column in zip(estimator.classes_, columns.T, strict=True)
        if 0 < np.count_nonzero(labels == label) < len(labels)
    ]
    return float(np.mean(found)) if found else 0.5


def minus_loss(estimator: Any, features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return minus the mean cross-entropy."""
    probabilities = np.maximum(estimator.predict_proba(features), _LEAST)
    place = {label: index for index, label in enumerate(estimator.classes_.tolist())}
    own = [row[place[label]] if label in place else _LEAST for row, label in zip(probabilities, labels.tolist(), strict=True)]
    return float(np.log(own).mean())


def _columns(estimator: Any, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return numbers (N, classes that were seen) that rank the images by each class."""
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(features))
    values = np.asarray(estimator.decision_function(features))
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values
