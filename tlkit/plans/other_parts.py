"""Choose which images of another data set are tested, and which [adapt] uses, without labels and with. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tlkit import tasks
from tlkit.errors import DataError, RecipeError, TlkitError, first_few
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images
from tlkit.plugin.members import Subset
from tlkit.recipe.messages import dotted
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import target_split
from tlkit.sources.splits import Indices

SCORED = 1000  # images of the target that scores without labels are computed from: enough for two digits, and soon done
ALL = "all"  # the split of a data set whose images are divided anew; its own test images are the last


@dataclass(frozen=True)
class OtherParts:
    """Images of another data set, with the labels of the classes that are trained on.

    Attributes:
        images: The data set.
        test: That are evaluated.
        target: That [adapt] uses or scores, the labelled ones among them; None where it uses none.
        labelled: Of these, positions in the split of those whose labels are used, ascending.
        scores_alone: The images without labels are for scores that need none; nothing is learned from them.
    """

    images: Images
    test: Selected
    target: Selected | None = None
    labelled: Indices | None = None
    scores_alone: bool = False

    @property
    def tested_files(self) -> Subset:
        """Files of the images that are evaluated; none of arrays."""
        return _files(self.images, self.test)

    @property
    def learned_from(self) -> Selected | None:
        """Images of the target that may not be among those that are tested: all but transductive ones."""
        if self.target is None or self.labelled is None:
            return None
        if not self.scores_alone and not len(np.intersect1d(self.target.indices, self.test.indices)):
            return self.target
        return Selected(self.target.split, self.labelled) if len(self.labelled) else None

    @property
    def learned_files(self) -> Subset | None:
        """Files of `learned_from`; None where there are no such images."""
        return _files(self.images, self.learned_from) if self.learned_from is not None else None


def divides(resolved: Resolved, name: str) -> bool:
    """Return whether an arm divides all images of a data set of [also] anew, or uses others of it than its test images."""
    return resolved.arm.also[name].split.per_class is not None or resolved.adaptation_to(name) is not None


def choose(resolved: Resolved, name: str, images: Images, *, seed: int) -> OtherParts:
    """Choose the images of one data set of [also].

    Args:
        resolved: The arm.
        name: The table's in [also].
        images: As `dataset_images.other_images` returns them.
        seed: The run's seed.

    Raises:
        DataError: the images have targets of another kind; a class has fewer images than are asked for; or none is left to test.
        RecipeError: [adapt] uses images without labels, and every image has one.
    """
    _refuse_other_targets(resolved, name, images)
    if not divides(resolved, name):
        return OtherParts(images, Selected("test", np.arange(len(images.splits["test"].targets))))
    split, place = images.splits[ALL], dotted("also", name, "split", "per_class")
    labels, classes = tasks.get(resolved.head.task).targets.strata(split.targets, images.classes)
    per_class, every = resolved.arm.also[name].split.per_class, np.arange(len(labels))
    if per_class is None:
        train = every[: len(every) - len(images.splits["test"].targets)]  # test images are the last
    elif split.groups is not None:
        raise DataError(
            f"{place}: the images of {name} belong to groups, which a draw of single images would part.", "leave it out"
        )
    else:
        train = target_split.first_of_each(labels, classes, per_class, seed=seed, where=place)
    parts = OtherParts(images, Selected(ALL, np.setdiff1d(every, train)))
    if not len(parts.test.indices):
        fewer = f"{place} = {per_class - 1}, or " if per_class is not None and per_class > 1 else ""
        raise DataError(f"{place}: is {per_class}, and no image is left to test.", f"{fewer}more images of each class")
    adapt = resolved.adaptation_to(name)
    if adapt is None:
        return parts
    labelled, wanted = train[:0], adapt.table.labels_per_class
    if wanted:
        labelled = train[target_split.first_of_each(labels[train], classes, wanted, seed=seed, where="adapt.labels_per_class")]
    used = labelled if not adapt.uses_unlabelled else train if adapt.table.images == "train" else every
    refuse_all_labelled(resolved, name, images=len(used), labelled=len(labelled))
    alone = resolved.learns == "steps" and not adapt.uses_unlabelled
    if alone:
        used = np.union1d(labelled, evenly(np.setdiff1d(train, labelled)))
    if resolved.arm.select_by in WITHOUT_LABELS and len(used) == len(labelled):
        raise DataError(
            f"select_by: {resolved.arm.select_by} is of images of {name} whose labels are not trained on, and its training part has no such.",
            f"fewer adapt.labels_per_class, or a larger {place}" if per_class is not None else f"{place} = 20, for instance",
        )
    return replace(parts, target=Selected(ALL, used), labelled=labelled, scores_alone=alone) if len(used) else parts


def refuse_all_labelled(resolved: Resolved, name: str, *, images: int, labelled: int) -> None:
    """Refuse an adaptation that uses target images without labels, where every image has one.

    Args:
        resolved: The arm.
        name: The target.
        images: How many of its images are used.
        labelled: Of these, how many have a label.

    Raises:
        RecipeError: none is left without a label.
    """
    adapt = resolved.adaptation
    if adapt is None or labelled < images or not labelled:
        return
    by_steps = adapt.by_steps and resolved.learns == "steps"
    if by_steps or adapt.table.pseudo_labels:
        needs = f"{adapt.table.method} needs others" if by_steps else "adapt.pseudo_labels gives labels to others"
        hint = 'adapt.images = "all", or fewer labels' if adapt.table.images == "train" else "fewer labels"
        raise RecipeError(
            [TlkitError(f"adapt.labels_per_class: every image of {name} that is used has a label, and {needs}.", hint)]
        )


def evenly(positions: Indices) -> Indices:
    """Return the images of the target that scores without labels are computed from, at even distances, of those at these positions."""
    places: Indices = (
        positions[np.unique(np.linspace(0, len(positions) - 1, SCORED).round().astype(np.int64))]
        if len(positions)
        else positions
    )
    return places


def warnings(resolved: Resolved, also: Mapping[str, OtherParts]) -> tuple[str, ...]:
    """Say which classes the target lacks, where the method takes it for granted that both domains have the same."""
    lines = []
    for name, other in also.items():
        adapt = resolved.adaptation_to(name)
        if adapt is None or adapt.adapter is None or adapt.adapter.partial:
            continue
        counts = np.bincount(other.images.splits[ALL].targets, minlength=len(other.images.classes))
        absent = [each for each, images in zip(other.images.classes, counts.tolist(), strict=True) if not images]
        if absent:
            lines.append(
                f"adapt.target: {name} has no image of {first_few(absent)}, and {adapt.table.method} takes it that both domains have the "
                "same classes: it may do harm"
            )
    return tuple(lines)


def _refuse_other_targets(resolved: Resolved, name: str, images: Images) -> None:
    """Refuse images whose targets are none that the head's task learns."""
    wanted, place = tasks.get(resolved.head.task).targets, dotted("also", name)
    for split in images.splits.values():
        if not wanted.holds(split.targets):
            words = tasks.understanding(split.targets)[0].targets.words
            raise DataError(
                f"{place}: has {words}; the images that are trained on have {wanted.words}.",
                f"another data set, or leave [{place}] out",
            )


def _files(images: Images, part: Selected) -> Subset:
    return Subset(images.splits[part.split].files, part.indices)
