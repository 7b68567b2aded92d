"""Scores of a classifier on images without labels, by which an epoch can be chosen.

The rule: a score sees predictions and features of the target, never its labels. Of the entropy less is better, of the others more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TEMPERATURE = 0.05  # of SND: the paper's, section 3.2
_PAIRS = 2**17  # of images that SND compares at a time: 1 MB, which stays near the processor


def of(probabilities: NDArray[Any], *, features: NDArray[Any] | None = None) -> dict[str, float]:
    """Return every score by its name.

    Args:
        probabilities: (N, C).
        features: (N, F), for `ami` as well, which takes longest; None without it.
    """
    found = {"entropy": entropy(probabilities), "snd": snd(probabilities), "bnm": bnm(probabilities)}
    return found if features is None else found | {"ami": ami(features, probabilities)}


def entropy(probabilities: NDArray[Any]) -> float:
    """Return the mean entropy of predictions in nats, 0, sure, to log(C), saying nothing.

    Args:
        probabilities: (N, C), every row adds up to 1.

    Source: Morerio, Cavazza & Murino 2018, arXiv:1711.10288, section 4.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    return float(-(p * np.log(np.where(p > 0, p, 1.0))).sum(1).mean())


def snd(probabilities: NDArray[Any]) -> float:
    """Return the soft neighbourhood density: how evenly an image's neighbours are spread, higher is better.

    With predictions u of length 1 and T = `TEMPERATURE`, P_ij = exp(u_i u_j / T) / sum_(k != i) exp(u_i u_k / T) for j != i; the score is the
    mean entropy of the rows of P: images of a class that lie close together have many equal neighbours.

    Args:
        probabilities: (N, C), N >= 2.

    Source: Saito, Kim, Teterwak, Sclaroff, Darrell & Saenko 2021, arXiv:2108.10860, eq. 2 to 4.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    block = max(1, _PAIRS // max(1, len(unit)))
    total = 0.0
    for start in range(0, len(unit), block):
        some = unit[start : start + block]
        alike = (some @ unit.T - 1) / TEMPERATURE  # (block, N), at most 0
        weights = np.exp(alike)
        own = np.arange(len(some))
        weights[own, start + own] = 0
        sums = weights.sum(1)
        # -sum p log p of p = weights / sums, with one logarithm a row
        total += float((np.log(sums) - np.einsum("ij,ij->i", weights, alike) / sums).sum())
    return total / len(unit)


def bnm(probabilities: NDArray[Any]) -> float:
    """Return the nuclear norm of predictions, 0 to 1: high where they are sure and all classes are predicted.

    The sum of the singular values of the (N, C) matrix, divided by the largest that it can be, sqrt(N min(N, C)).

    Args:
        probabilities: (N, C).

    Source: Cui et al. 2020, arXiv:2003.12237, eq. 8.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    return float(np.linalg.svd(p, compute_uv=False).sum() / np.sqrt(len(p) * min(p.shape)))


def ami(features: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Return how well the predicted classes agree with clusters of the features: adjusted mutual information, about 0 to 1.

    Args:
        features: (N, F); clusters are k-means with as many as there are classes.
        probabilities: (N, C).

    Source: Musgrave, Belongie & Lim 2022, arXiv:2208.07360, section 3.2 ("ClassAMI").
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    x, p = np.asarray(features, dtype=np.float64), np.asarray(probabilities)
    found = min(p.shape[1], len(np.unique(x, axis=0)))
    clusters = KMeans(found, n_init=3, random_state=0).fit_predict(x)
    return float(adjusted_mutual_info_score(p.argmax(1), clusters))
