"""Split conformal prediction: sets of classes that hold the right one with a given probability. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-9  # 20 * 0.95 is to be 19, whatever its last bit


def least_probability(probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, coverage: float) -> float:
    """Return the probability that a class needs to be in an image's set of classes.

    A set then holds the right class of a new image with a probability of at least `coverage`, if new images are like these. The
    probability is over the choice of these images too. 0 where there are too few of them: then every class is in every set.

    Args:
        probabilities: (N, classes) of images that were not trained on.
        labels: (N,) their classes.
        coverage: Above 0 and below 1.

    Source: Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers", arXiv:1609.00451; the rank is that of Vovk's
    inductive conformal predictors, ceil((N + 1) coverage).
    """
    own = np.sort(probabilities[np.arange(len(labels)), labels].astype(np.float64))
    rank = math.ceil((len(own) + 1) * coverage - _ROUNDING)
    return 0.0 if rank > len(own) else float(own[len(own) - rank])
