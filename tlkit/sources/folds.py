"""Divide the training images into the folds of a cross-validation. Imports no torch.

The rule: each image is in exactly one fold. Folds depend on the labels, the groups and the seed alone, and not on the version of a
library, so that folds which are trained years apart still belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.recipe.tables import SplitTable
from tlkit.sources import splits
from tlkit.sources.splits import Chosen, Groups


def choose(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    table: SplitTable,
    *,
    fold: int,
    folds: int,
    seed: int,
    held_out: bool,
    groups: Groups | None = None,
) -> Chosen:
    """Take one fold as the test images, and choose training and validation images from the others as `splits.choose` does.

    Args:
        labels: (N,) of the images that are divided.
        classes: Class names in label order.
        table: The recipe's [data.split], without fractions.
        fold: Of the test images, from 1.
        folds: How many there are.
        seed: The run's seed.
        held_out: The data set has validation images of its own, so none are taken.
        groups: (N,) of the same images; None if every image is a group of its own.

    Raises:
        DataError: a class has fewer images, or fewer groups, than there are folds; or as `splits.choose`.
    """
    tested = divide(labels, classes, folds=folds, seed=seed, groups=groups) == fold
    rest = np.flatnonzero(~tested)
    left = None if groups is None else groups[rest]
    try:
        chosen = splits.choose(labels[rest], classes, table, seed=seed, held_out=held_out, groups=left)
    except DataError as error:
        raise DataError(
            f"{error.problem.removesuffix('.')}, beside those of fold {fold} of {folds}, which are tested.",
            *error.hints,
            "data.split.validation = 0 takes no images to choose an epoch by",
        ) from error
    return Chosen(rest[chosen.train], rest[chosen.validation], np.flatnonzero(tested))


def divide(
    labels: NDArray[np.int64], classes: Sequence[str], *, folds: int, seed: int, groups: Groups | None = None
) -> NDArray[np.int64]:
    """Return the fold of each image (N,), from 1.

    The numbers of images of one class in two folds differ by one at most, and so do the sizes of two folds, as in scikit-learn's
    StratifiedKFold. Groups go into a fold whole, the largest first, each into the fold that lacks most of its classes.

    Raises:
        DataError: a class has fewer images, or fewer groups, than there are folds.
    """
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count and count < folds:
            raise _too_few(f"class {name} has {count} training images", folds, count)
    random = np.random.Generator(np.random.Philox(key=[seed, len(classes) + 2]))
    if groups is None:
        order = random.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        fold_of = np.empty(len(labels), dtype=np.int64)
        fold_of[order] = np.arange(len(labels)) % folds
        return fold_of + 1
    names, member = np.unique(groups, return_inverse=True)
    held = splits.count_groups(member, labels, groups=len(names), classes=len(classes))
    for name, images, count in zip(classes, counts.tolist(), held.groups_of_classes().tolist(), strict=True):
        if images and count < folds:
            raise _too_few(f"class {name} has training images of {count} groups", folds, count)
    wanted = np.tile(counts / folds, (folds, 1))
    fold_of_group = splits.assign_groups(held, wanted, random.permutation(len(names)))
    return fold_of_group[member] + 1


def _too_few(problem: str, folds: int, count: int) -> DataError:
    hint = f"cross_validation.folds = {count} at most" if count > 1 else "cross_validation needs at least 2"
    return DataError(f"cross_validation: {problem}, for {folds} folds.", hint)
