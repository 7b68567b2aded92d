"""Choose the training images that are evaluated after every epoch, and decode them as test images are."""

from __future__ import annotations

import numpy as np

from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Part, TrainingPart
from tlkit.engine.images.pictures import Indices, Progress
from tlkit.plans import train_sample
from tlkit.plans.plan import Plan

_STREAM = 1 << 63  # of random numbers: no epoch has this one


def choose(plan: Plan, train: TrainingPart, library: Library, *, progress: Progress) -> Part | None:
    """Return some training images as they are without augmentation; None where evaluating them would cost too much.

    Arms of one seed that evaluate as many get the same ones.

    Args:
        plan: Says how many.
        train: The training images.
        library: The pictures of the data set.
        progress: Called with the images decoded and their total.
    """
    count = min(train_sample.count(plan), len(train.indices))
    if not count:
        return None
    drawn = np.random.Generator(np.random.Philox(key=[train.seed, _STREAM])).permutation(train.indices)[:count]
    return as_evaluated(plan, train, np.sort(drawn), library, progress=progress)


def as_evaluated(plan: Plan, train: TrainingPart, indices: Indices, library: Library, *, progress: Progress) -> Part:
    """Return some of the training images, brought to size as test images are; what cannot be decoded so is left out."""
    pictures = train.pictures
    geometry = evaluation_geometry(plan.image_size, train.convention, plan.tables.data, canvas=plan.canvas)
    if geometry != pictures.geometry:
        name = next(name for name, split in library.images.splits.items() if split is pictures.split)
        pictures = library.pictures(name, geometry)
        corrupt = pictures.prepare(indices, progress=progress)
        indices = indices[~np.isin(indices, list(corrupt))]
    return Part(pictures, indices, train.convention, train.task, train.masks)
