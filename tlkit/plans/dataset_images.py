"""Read the images of a recipe's data sets, with the labels of the classes that are trained on. Imports no torch.

The images that an arm is trained and tested on are read once for as long as their files do not change.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from tlkit import file_digests, tasks
from tlkit.errors import DataError, RecipeError, TlkitError, first_few
from tlkit.plans import other_parts
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import DataFiles, Images, Split
from tlkit.plugin.members import Joined, joined
from tlkit.recipe.messages import dotted
from tlkit.sources import datasets
from tlkit.tasks.task import Rows

# Which splits of a data set become one: none, all, or those that the data set has no images of its own for and the training images.
Pooled = Literal["none", "held out", "all"]


def images(resolved: Resolved, found: DataFiles) -> Images:
    """Read the data set of [data], once for as long as its files do not change and no few others are read.

    Where the recipe splits all of its images anew, they are all in "train". With cross-validation, test images that were held out
    from the training images are among them again.

    Raises:
        RecipeError: the head's task cannot learn from the targets of these images.
    """
    pooled: Pooled = "all" if resolved.arm.data.split.fractions is not None else "held out" if resolved.folds else "none"
    read = _read(_Key(resolved.source, found, pooled=pooled))
    check_task(resolved, read.splits["train"].targets)
    return read


def without_test(images: Images) -> Images:
    """Return a data set without its test images, whose files then are not even opened."""
    return Images(images.classes, {name: split for name, split in images.splits.items() if name != "test"})


def other_images(resolved: Resolved, name: str, found: DataFiles, classes: tuple[str, ...]) -> Images:
    """Read a data set of [also], with the labels of the classes that are trained on.

    Its test images are in the split "test"; where others are used too, all of its images are in the split "all", the test images last.

    Args:
        resolved: The arm.
        name: The table's in [also].
        found: Its files.
        classes: That are trained on.

    Raises:
        DataError: it has no test images, or images of another class.
    """
    source, where = resolved.also[name], dotted("also", name)
    key = _Key(source, found, pooled="none")
    images = _read(key)
    if "test" not in images.splits and resolved.arm.also[name].split.per_class is None:
        raise DataError(f"{where}: {source.name} has no test images.", "another data set, or options that give it some")
    unknown = [each for each in images.classes if each not in classes]
    if unknown:
        raise DataError(
            f"{where}: {source.name} has classes that are not trained on: {first_few(unknown)}.",
            f"classes that are: {', '.join(classes[:10])}",
            f"a copy of {source.name} without images of other classes, or leave [{where}] out",
        )
    return _labelled(key, classes, other_parts.divides(resolved, name))


def unlabelled_images(source: Source, found: DataFiles) -> Images:
    """Read all images of a data set without their labels.

    Args:
        source: The data set.
        found: Its files.

    Returns:
        The images in one split, "all", each with the label 0.
    """
    return _without_labels(_Key(source, found, pooled="none"))


def labelled_images(source: Source, found: DataFiles, classes: tuple[str, ...], *, where: str) -> tuple[Images, str]:
    """Read a data set to evaluate a trained network on.

    Args:
        source: The data set.
        found: Its files.
        classes: That the network was trained on.
        where: Begins every message.

    Returns:
        Its images with the labels of the network's classes, in one split, and the name of it: "test", or "all" where the data set has
        no test images of its own.

    Raises:
        DataError: it has images of another class.
    """
    chosen, part, _ = evaluated_images(source, found)
    unknown = [name for name in chosen.classes if name not in classes]
    if unknown:
        raise DataError(
            f"{where}: has classes that the network was not trained on: {first_few(unknown)}.",
            f"classes: {', '.join(classes[:10])}",
        )
    return renumbered(chosen, classes), part


def evaluated_images(source: Source, found: DataFiles) -> tuple[Images, str, Split | None]:
    """Read a data set of which a trained network is evaluated on one part.

    Args:
        source: The data set.
        found: Its files.

    Returns:
        The images in one split, and the name of it: "test", or "all" where the data set has no test images of its own. Then also
        those that training leaves out as test images; None where they are the data set's own, or there are none.
    """
    images = datasets.read_data(source.dataset, found, source.options)
    if "test" in images.splits and not images.test_held_out:
        return Images(images.classes, {"test": images.splits["test"]}), "test", None
    return Images(images.classes, {"all": _pooled(images)}), "all", images.splits.get("test")


@lru_cache(maxsize=4)
def _labelled(key: _Key, classes: tuple[str, ...], whole: bool) -> Images:
    """Return a data set's test images with the labels of other classes, of which its own are some; `whole` adds the split "all"."""
    images = _read(key)
    splits = {"test": images.splits["test"]} if "test" in images.splits else {}
    return renumbered(Images(images.classes, splits | ({other_parts.ALL: _pooled(images)} if whole else {})), classes)


@lru_cache(maxsize=2)
def _without_labels(key: _Key) -> Images:
    split = _pooled(datasets.read_data(key.source.dataset, key.found, key.source.options))
    nothing = np.zeros(len(split.targets), dtype=np.int64)
    return Images(("image",), {other_parts.ALL: replace(split, targets=nothing, groups=None)})


def renumbered(images: Images, classes: tuple[str, ...]) -> Images:
    """Return images with the labels of other classes, of which their own are some."""
    places, splits = [classes.index(name) for name in images.classes], {}
    for name, split in images.splits.items():
        kind = tasks.understanding(split.targets)[0].targets
        splits[name] = replace(split, targets=kind.renumber(split.targets, places, len(classes)))
    return Images(classes, splits)


def check_task(resolved: Resolved, targets: Rows) -> None:
    """Refuse a head whose task cannot learn from these targets.

    Raises:
        RecipeError: with a head that can.
    """
    wanted, fitting = tasks.get(resolved.head.task), tasks.understanding(targets)
    if wanted not in fitting:
        data, head = resolved.arm.data.name, resolved.arm.head.kind
        words = f"head.kind: the {head} head learns {wanted.targets.words}, and {data} has {fitting[0].targets.words}."
        raise RecipeError([TlkitError(words, f'head.kind = "{fitting[0].head}"')])


class _Key:
    """Makes `_read` remember by what determines the images."""

    def __init__(self, source: Source, found: DataFiles, *, pooled: Pooled) -> None:
        self.source, self.found, self.pooled = source, found, pooled
        self._same = (source.dataset.read, found, repr(source.options), file_digests.states(found.files), pooled)

    def __hash__(self) -> int:
        return hash(self._same)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._same == other._same


@lru_cache(maxsize=3)  # images may be gigabytes
def _read(key: _Key) -> Images:
    images = datasets.read_data(key.source.dataset, key.found, key.source.options)
    if key.pooled == "all" or (key.pooled == "held out" and images.test_held_out):
        return Images(images.classes, {"train": _pooled(images)})
    datasets.refuse_unlearnable(images, str(key.found.root))
    # A cross-validation uses no test images of the data set.
    parts = ("train", "validation") if key.pooled == "held out" else ("train", "validation", "test")
    datasets.refuse_parted_groups(images, str(key.found.root), parts=parts)
    return images


def _pooled(images: Images) -> Split:
    """All images in one, in the order train, validation, test."""
    parts = [images.splits[name] for name in ("train", "validation", "test") if name in images.splits]
    pixels = [part.pixels for part in parts if part.pixels is not None]
    if pixels and (len(pixels) < len(parts) or len({each.shape[1:] for each in pixels}) > 1):
        raise DataError(
            "data: the training and test images of this data set are of different kinds or sizes and cannot be divided anew.",
            "leave data.split.fractions, also.NAME.split and [adapt] out",
        )
    groups = [part.groups for part in parts if part.groups is not None]
    return Split(
        targets=np.concatenate([part.targets for part in parts]),
        files=Joined([part.files for part in parts])
        if any(part.storage for part in parts)
        else tuple(file for part in parts for file in part.files),
        pixels=np.concatenate(pixels) if pixels else None,
        groups=np.concatenate(groups) if len(groups) == len(parts) else None,
        one_answer=all(part.one_answer for part in parts),
        storage=joined([part.storage for part in parts]),
    )
