"""Choose which images of a data set are trained on, which are validation images, and which are test images. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images
from tlkit.sources import folds, splits
from tlkit.sources.splits import Chosen, Groups, Indices


@dataclass(frozen=True)
class Selected:
    """The images of one part.

    Attributes:
        split: The data set's split that they are taken from.
        indices: Their positions in that split, ascending.
    """

    split: str
    indices: Indices


def select(resolved: Resolved, images: Images, *, seed: int, fold: int | None = None) -> dict[str, Selected]:
    """Choose the images of "train", "validation" and "test" as the recipe says; a part without images is left out.

    A data set's own validation and test images are taken whole; where a fold is tested, its own test images are left out.

    Args:
        resolved: The arm.
        images: The data set.
        seed: The run's seed.
        fold: The fold that is tested, from 1; None without cross-validation.

    Raises:
        DataError: there are too few images for what the recipe asks for.
    """
    train = images.splits["train"]
    labels, classes = tasks.get(resolved.head.task).targets.strata(train.targets, images.classes)
    sizes = {name: len(split.targets) for name, split in images.splits.items()}
    chosen = split_train(resolved, labels, classes, sizes=sizes, seed=seed, fold=fold, groups=train.groups)
    parts = {"train": Selected("train", chosen.train)}
    for name, taken in (("validation", chosen.validation), ("test", chosen.test)):
        if sizes.get(name) and not (name == "test" and taken is not None):
            parts[name] = Selected(name, np.arange(sizes[name]))
        elif taken is not None and len(taken):
            parts[name] = Selected("train", taken)
    return parts


def split_train(
    resolved: Resolved,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    sizes: Mapping[str, int],
    seed: int,
    fold: int | None = None,
    groups: Groups | None = None,
) -> Chosen:
    """Split the images of "train" as the recipe says. The arguments are those of `splits.choose`.

    Args:
        resolved: The arm.
        labels: (N,) by which the images are stratified.
        classes: Their names.
        sizes: Number of images of every split that the data set has.
        seed: The run's seed.
        fold: The fold that is tested, from 1; None without cross-validation.
        groups: (N,) images that stay together; None if each is on its own.
    """
    table, own = resolved.arm.data.split, "validation" in sizes
    if fold is None or resolved.folds is None:
        return splits.choose(labels, classes, table, seed=seed, held_out=own, groups=groups)
    return folds.choose(labels, classes, table, fold=fold, folds=resolved.folds, seed=seed, held_out=own, groups=groups)
