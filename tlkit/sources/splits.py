"""Choose training, validation and test images: class by class, seeded. Imports no torch.

The rule: images of one group, of one patient for instance, are never in two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, first_few
from tlkit.recipe.tables import SplitTable

Indices = NDArray[np.int64]
Groups = NDArray[np.str_]
Counts = NDArray[np.int64]  # (classes,)


@dataclass(frozen=True)
class Chosen:
    """The chosen images, as ascending positions in the data set's training images.

    Attributes:
        train: That are trained on.
        validation: That are held out.
        test: That are tested on; None where the data set's own test images are.
    """

    train: Indices
    validation: Indices
    test: Indices | None = None


def choose(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    table: SplitTable,
    *,
    seed: int,
    held_out: bool,
    groups: Groups | None = None,
) -> Chosen:
    """Choose training and validation images, and with fractions the test images too, class by class.

    Of each class, round(fraction x images) are held out, but of two images or more at least one is held out and one is not; a
    count of training images comes before them, so few labels leave the validation images to the rest. Groups are dealt out whole,
    the largest first, to the part that lacks most of their classes, so counts are met as nearly as the groups allow.

    Args:
        labels: (N,) of the data set's training images, or with fractions of all.
        classes: Class names in label order.
        table: The recipe's [data.split].
        seed: The run's seed.
        held_out: The data set has validation images of its own, so none are taken.
        groups: (N,) of the same images; None where each is one of its own.

    Raises:
        DataError: a class has fewer images than asked for or than there are parts, or none are left to train on.
    """
    if table.fractions is not None:
        wanted = _by_fraction(np.bincount(labels, minlength=len(classes)), classes, table.fractions)
    else:
        wanted = _by_count(labels, classes, table, seed, 0.0 if held_out else table.validation)
    if groups is None:
        parts = _deal(
            labels,
            wanted,
            seed,
            counted=any(each is not None for each in (table.fractions, table.train, table.train_per_class)),
        )
    else:
        parts = _deal_groups(labels, groups, wanted, classes, seed)
        if table.fractions is None and (table.train is not None or table.train_per_class is not None):
            parts[0] = _first(labels, parts[0], wanted[0], seed)
    if not len(parts[0]):
        raise DataError("data.split: no image is left to train on.", "a smaller data.split.validation")
    lost = np.setdiff1d(labels, labels[parts[0]])
    if len(lost):
        shown = first_few(classes[label] for label in lost.tolist())
        raise DataError(
            f"data.split: no image of class {shown} is left to train on.", "more training images, or fewer held out"
        )
    return Chosen(parts[0], parts[1], parts[2] if table.fractions is not None else None)


@dataclass(frozen=True)
class GroupCounts:
    """How many images of each class each group has; only classes that a group has take memory.

    Attributes:
        groups: How many there are.
        classes: How many there are.
        group: (pairs,) a group and a class of which it has images, in ascending order; the groups.
        label: (pairs,) their classes.
        images: (pairs,) how many images of the class the group has.
    """

    groups: int
    classes: int
    group: NDArray[np.int64]
    label: NDArray[np.int64]
    images: NDArray[np.int64]

    def groups_of_classes(self) -> Counts:
        """Return how many groups have images of each class."""
        return np.bincount(self.label, minlength=self.classes)

    def sizes(self) -> NDArray[np.int64]:
        """Return how many images each group has (groups,)."""
        return np.bincount(self.group, weights=self.images, minlength=self.groups).astype(np.int64)


def count_groups(member: NDArray[np.int64], labels: NDArray[np.int64], *, groups: int, classes: int) -> GroupCounts:
    """Return how many images of each class each group has.

    Args:
        member: (N,) group of each image.
        labels: (N,) class of each image.
        groups: How many there are.
        classes: How many there are.
    """
    pairs, images = np.unique(member * classes + labels, return_counts=True)
    return GroupCounts(groups, classes, pairs // classes, pairs % classes, images)


def assign_groups(held: GroupCounts, wanted: NDArray[Any], order: Indices) -> NDArray[np.int64]:
    """Return the part of each group (groups,): the largest group first, each to the part that lacks most of its classes.

    Args:
        held: Images of each group.
        wanted: (parts, classes) images that each part should have.
        order: (groups,) decides among groups of one size.
    """
    order = order[np.argsort(-held.sizes()[order], kind="stable")]
    lack, part_of = wanted.astype(np.float64), np.zeros(held.groups, dtype=np.int64)
    share, open_to = np.maximum(wanted, 1), wanted.any(1)
    begins = np.searchsorted(held.group, np.arange(held.groups + 1))
    mine = np.zeros(held.classes, dtype=np.int64)  # of one group after the other
    for group in order:
        pairs = slice(begins[group], begins[group + 1])
        mine[held.label[pairs]] = held.images[pairs]
        score = (mine * lack / share).sum(
            1
        )  # over all classes: a shorter sum rounds in another way, and would split in another
        part_of[group] = np.argmax(np.where(open_to, score, -np.inf))
        lack[part_of[group]] -= mine
        mine[held.label[pairs]] = 0
    return part_of


def drawn(images: Indices, label: int, seed: int) -> Indices:
    """Return images of a class in the order in which a seed draws them."""
    return np.random.Generator(np.random.Philox(key=[seed, label])).permutation(images)


def _by_fraction(counts: Counts, classes: Sequence[str], fractions: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of images (3, classes) of train, validation and test; each wanted part gets at least one."""
    needed = sum(fraction > 0 for fraction in fractions)
    for name, count in zip(classes, counts, strict=True):
        if count < needed:
            raise DataError(
                f"data.split.fractions: class {name} has {count} images for {needed} parts.", "at least one in each part"
            )
    wanted = np.zeros((3, len(classes)), dtype=np.int64)
    for part in (0, 1):
        wanted[part] = np.maximum(np.round(fractions[part] * counts), 1) if fractions[part] > 0 else 0
    if fractions[2] > 0:
        wanted[0] = np.minimum(wanted[0], counts - wanted[1] - 1)
        wanted[2] = counts - wanted[0] - wanted[1]
    else:
        wanted[0] = counts - wanted[1]
    return wanted


def _by_count(
    labels: NDArray[np.int64], classes: Sequence[str], table: SplitTable, seed: int, fraction: float
) -> NDArray[np.int64]:
    """Return the number of images (3, classes) of train, validation, and neither."""
    counts = np.bincount(labels, minlength=len(classes))
    hold = np.round(fraction * counts).astype(np.int64)
    hold = np.where((fraction > 0) & (counts > 0), np.minimum(np.maximum(hold, 1), counts - 1), 0)
    asked = _asked(counts, classes, table, seed)
    if asked is None:
        return np.stack([counts - hold, hold, np.zeros_like(counts)])
    for label in np.flatnonzero(asked > counts).tolist():
        raise DataError(
            f"data.split: class {classes[label]} has {counts[label]} training images, and {asked[label]} are asked for.",
            f"data.split.train_per_class = {counts[label]} or less, or more images"
            if counts[label]
            else "images of this class",
        )
    hold = np.minimum(hold, counts - asked)
    return np.stack([asked, hold, counts - asked - hold])


def _deal(labels: NDArray[np.int64], wanted: NDArray[np.int64], seed: int, *, counted: bool) -> list[Indices]:
    """Assign the images of each class to the parts."""
    parts: list[list[Indices]] = [[], [], []]
    for label in range(wanted.shape[1]):
        order = drawn(np.flatnonzero(labels == label), label, seed)
        train, held, _ = wanted[:, label]
        if not counted:
            order = np.roll(order, -held)
        cuts = (order[:train], order[train : train + held], order[train + held :])
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    return [np.sort(np.concatenate(part)) for part in parts]


def _deal_groups(
    labels: NDArray[np.int64], groups: Groups, wanted: NDArray[np.int64], classes: Sequence[str], seed: int
) -> list[Indices]:
    """Assign whole groups to the parts, and refuse a part that lacks a class."""
    names, member = np.unique(groups, return_inverse=True)
    held = count_groups(member, labels, groups=len(names), classes=len(classes))
    order = np.random.Generator(np.random.Philox(key=[seed, len(classes) + 1])).permutation(len(names))
    part_of = assign_groups(held, wanted, order)
    parts = [np.flatnonzero(part_of[member] == part) for part in range(3)]
    for part, chosen in enumerate(parts):
        for label in np.flatnonzero((wanted[part] > 0) & (np.bincount(labels[chosen], minlength=len(classes)) == 0)).tolist():
            count = len(set(member[labels == label]))
            what = ("training", "validation", "test")[part]
            raise DataError(
                f"data.split: class {classes[label]} has images of {count} groups, too few for {what} images of its own.",
                "a group is never parted; fewer parts, or more groups",
            )
    return parts


def _first(labels: NDArray[np.int64], chosen: Indices, wanted: Counts, seed: int) -> Indices:
    """Return as many images of each class as are wanted, of those that whole groups brought."""
    kept = []
    for label, count in enumerate(wanted):
        mine = chosen[labels[chosen] == label]
        kept.append(drawn(mine, label, seed)[:count])
    return np.sort(np.concatenate(kept))


def _asked(counts: Counts, classes: Sequence[str], table: SplitTable, seed: int) -> Counts | None:
    """Return the wanted training images of each class, or None for all."""
    if table.train_per_class is not None:
        return np.full(len(classes), table.train_per_class)
    if table.train is None:
        return None
    if table.train > counts.sum():
        raise DataError(
            f"data.split.train: is {table.train}; there are {counts.sum()} training images.",
            f"data.split.train = {counts.sum()} or less; leave it out to train on all",
        )
    wanted = np.zeros_like(counts)
    order = np.random.Generator(np.random.Philox(key=[seed, len(classes)])).permutation(len(classes))
    while (left := table.train - wanted.sum()) > 0:
        free = [label for label in order if wanted[label] < counts[label]]
        share = max(left // len(free), 1)
        for label in free[: int(left)]:
            wanted[label] += min(share, counts[label] - wanted[label])
    return wanted
