"""Confusion matrices: an order of the classes that shows which are taken for each other, and the most confused pairs. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_OPTIMAL = 120  # classes; the best order of more takes seconds

Pair = tuple[int, int, int]  # true class, predicted class, images


def order(confusion: NDArray[np.integer]) -> list[int]:
    """Return the classes in an order in which those that are confused stand near each other.

    Args:
        confusion: (classes, classes) images by true class, a row, and prediction, a column.

    Source: the leaf order of average-linkage clustering, by the share of confusions between two classes; Bar-Joseph et al. 2001.
    """
    classes = len(confusion)
    if classes < 3:
        return list(range(classes))
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    near = shares + shares.T
    np.fill_diagonal(near, 0.0)
    distances = squareform(1 - near / max(near.max(), 1e-12), checks=False)
    tree = linkage(distances, "average")
    if classes <= _OPTIMAL:
        tree = optimal_leaf_ordering(tree, distances)
    return [int(leaf) for leaf in leaves_list(tree)]


def pairs(confusion: NDArray[np.integer], *, most: int) -> Sequence[Pair]:
    """Return the pairs of different classes that are confused most often, those with the most images first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    flat = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(flat, wrong.shape)
    found = [(int(row), int(column), int(wrong[row, column])) for row, column in zip(rows, columns, strict=True)]
    return [pair for pair in found if pair[2]]
