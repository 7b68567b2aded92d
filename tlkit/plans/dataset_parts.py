"""Choose which images of a data set are trained on, which are validation images, and which are test images. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.plans.resolve import Resolved
from tlkit.plugin import Images
from tlkit.sources import splits
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


def select(resolved: Resolved, images: Images, *, seed: int) -> dict[str, Selected]:
    """Choose the images of "train", "validation" and "test" as the recipe says; a part without images is left out.

    A data set's own validation and test images are taken whole.

    Args:
        resolved: The arm.
        images: The data set.
        seed: The run's seed.

    Raises:
        DataError: there are too few images for what the recipe asks for.
    """
    train = images.splits["train"]
    labels, classes = tasks.get(resolved.head.task).targets.strata(train.targets, images.classes)
    sizes = {name: len(split.targets) for name, split in images.splits.items()}
    chosen = split_train(resolved, labels, classes, sizes=sizes, seed=seed, groups=train.groups)
    parts = {"train": Selected("train", chosen.train)}
    for name, taken in (("validation", chosen.validation), ("test", chosen.test)):
        if sizes.get(name):
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
    groups: Groups | None = None,
) -> Chosen:
    """Split the images of "train" as the recipe says. The arguments are those of `splits.choose`.

    Args:
        resolved: The arm.
        labels: (N,) by which the images are stratified.
        classes: Their names.
        sizes: Number of images of every split that the data set has.
        seed: The run's seed.
        groups: (N,) images that stay together; None if each is on its own.
    """
    return splits.choose(labels, classes, resolved.arm.data.split, seed=seed, held_out="validation" in sizes, groups=groups)
