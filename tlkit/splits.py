"""Which of the training images are trained on and which are held out: class-balanced, seeded. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.recipe import SplitTable

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Chosen:
    """Positions in the data set's training images, ascending."""

    train: Indices
    validation: Indices


def choose(labels: NDArray[np.int64], classes: Sequence[str], table: SplitTable, *, seed: int, held_out: bool) -> Chosen:
    """Choose training and validation images, class by class.

    Of each class, round(validation x images) are held out, but of two images or more at least one is held out and one is not;
    a count of training images comes before them, so few labels leave the validation images to the rest.

    Args:
        labels: (N,) of the data set's training images.
        classes: Class names in label order.
        table: The recipe's [data.split].
        seed: Of the run.
        held_out: The data set has validation images of its own, so none are taken.

    Raises:
        DataError: a class has fewer images than asked for, or none are left to train on.
    """
    counts = np.bincount(labels, minlength=len(classes))
    wanted = _wanted(counts, classes, table, seed)
    fraction = 0.0 if held_out else table.validation
    train, validation = [], []
    for label, name in enumerate(classes):
        order = np.random.Generator(np.random.Philox(key=[seed, label])).permutation(np.flatnonzero(labels == label))
        hold = min(max(round(fraction * len(order)), 1), len(order) - 1) if fraction > 0 and len(order) else 0
        if wanted is None:
            validation.append(order[:hold])
            train.append(order[hold:])
            continue
        if wanted[label] > len(order):
            raise DataError(f"data.split: class {name} has {len(order)} training images, and {wanted[label]} are asked for.")
        train.append(order[: wanted[label]])
        validation.append(order[wanted[label] :][:hold])
    chosen = Chosen(*(np.sort(np.concatenate(parts)) for parts in (train, validation)))
    if not len(chosen.train):
        raise DataError("data.split: no image is left to train on.", "a smaller data.split.validation")
    return chosen


def _wanted(counts: NDArray[np.int64], classes: Sequence[str], table: SplitTable, seed: int) -> NDArray[np.int64] | None:
    """Training images of each class, or None for all that are not held out."""
    if table.train_per_class is not None:
        return np.full(len(classes), table.train_per_class)
    if table.train is None:
        return None
    if table.train > counts.sum():
        raise DataError(f"data.split.train: is {table.train}; there are {counts.sum()} training images.")
    wanted = np.zeros_like(counts)
    order = np.random.Generator(np.random.Philox(key=[seed, len(classes)])).permutation(len(classes))
    while (left := table.train - wanted.sum()) > 0:
        free = [label for label in order if wanted[label] < counts[label]]
        share = max(left // len(free), 1)
        for label in free[: int(left)]:
            wanted[label] += min(share, counts[label] - wanted[label])
    return wanted
