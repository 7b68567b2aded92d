"""Split conformal prediction: sets of classes that hold the right one with a given probability. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-9  # 20 * 0.95 is to be 19, whatever its last bit
# Part of a probability by which it may be computed otherwise another time, in float32 for instance. Of a k-NN or a tree very many images
# have exactly the probability that is needed, and rounding would leave their class out.
_SLACK = 1e-4


def least_probability(probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, coverage: float) -> float:
    """Return the probability that a class needs to be in an image's set of classes.

    A set then holds the right class of a new image with a probability of at least `coverage`, if new images are like these. The
    probability is over the choice of these images too. 0 where there are too few of them: then every class is in every set.

    It is a little less than that of the image at the rank, so that rounding puts no class that is as probable out of the set.

    Args:
        probabilities: (N, classes) of images that were not trained on.
        labels: (N,) their classes.
        coverage: Above 0 and below 1.

    Source: Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers", arXiv:1609.00451; the rank is that of Vovk's
    inductive conformal predictors, ceil((N + 1) coverage).
    """
    own = np.sort(probabilities[np.arange(len(labels)), labels].astype(np.float64))
    rank = math.ceil((len(own) + 1) * coverage - _ROUNDING)
    return 0.0 if rank > len(own) else float(own[len(own) - rank]) * (1 - _SLACK)
