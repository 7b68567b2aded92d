"""Read a data set through its plugin and check the result. Imports no torch itself; a plugin may."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from tlkit import plugin, tasks
from tlkit.errors import DataError, PluginError, first_few
from tlkit.plugin import DataFiles, Dataset, FileList, ImageFiles, Images, Member, Split, registry
from tlkit.plugin.calling import blamed, comes_with


def read_data(dataset: Dataset, found: DataFiles, options: BaseModel | None) -> Images:
    """Let the plugin read its files, and check what it returns.

    Raises:
        DataError: as the plugin says it.
        PluginError: it broke the contract of `tlkit.plugin.Images`.
    """
    with blamed(dataset.read):
        return _checked(dataset, found, plugin.call(dataset.read, found, options))


def _checked(dataset: Dataset, found: DataFiles, images: object) -> Images:
    if not isinstance(images, Images) or not isinstance(images.splits, Mapping) or "train" not in images.splits:
        raise PluginError(f"{dataset.read}: gave {type(images).__name__}, not tlkit.plugin.Images with a split named train.")
    kinds = tasks.understanding(getattr(images.splits["train"], "targets", None))
    _check_classes(dataset.read, images.classes, fewest=min((task.targets.fewest for task in kinds), default=2))
    for name, split in images.splits.items():
        _check_split(dataset.read, name, split)
        count = len(split.files) if split.pixels is None else len(split.pixels)
        if count == len(split.targets) == 0 and name == "test" and images.test_held_out:
            raise DataError(
                f"{found.root}: every one of its {len(images.classes):,} classes has one image, so none is left for the test set.",
                "a class needs two images at least, one to train on and one to test; is it the class that the labels name?",
            )
        if count != len(split.targets) or count == 0:
            many = "as many of both, at least one"
            raise DataError(f"{found.root}: {name}: {count} images and {len(split.targets)} targets.", many, _reader(dataset))
        wrong = tasks.understanding(split.targets)[0].targets.problem(split.targets, len(images.classes))
        if wrong:
            raise DataError(f"{found.root}: {name}: {wrong[0]}.", *wrong[1:], _reader(dataset))
    arrays = dict.fromkeys(tasks.understanding(split.targets)[0].targets.array for split in images.splits.values())
    if len(arrays) > 1:
        raise PluginError(f"{dataset.read}: targets of one split are {', of another '.join(arrays)}.")
    return images


def _reader(dataset: Dataset) -> str:
    return f"{dataset.read} reads it; {comes_with(dataset.read)}"


def refuse_unlearnable(images: Images, where: str) -> None:
    """Refuse validation or test classes that have no training image.

    Raises:
        DataError: names each, up to five.
    """
    strata_of = tasks.understanding(images.splits["train"].targets)[0].targets.strata
    learned = strata_of(images.splits["train"].targets, images.classes)[0]
    for name, split in images.splits.items():
        strata, names = strata_of(split.targets, images.classes)
        absent = np.setdiff1d(strata, learned).tolist()
        if absent:
            shown = first_few(names[stratum] for stratum in absent)
            raise DataError(
                f"{where}: {name} has images of class {shown}, of which there is no training image.",
                "add training images of it, take its images away, or split all images anew: data.split.fractions",
            )


def refuse_parted_groups(images: Images, where: str, *, parts: Sequence[str]) -> None:
    """Refuse a group with images in two of a data set's own parts: the scores would be of persons that were trained on.

    Args:
        images: The data set.
        where: Begins the message, usually its folder.
        parts: The splits that are used.

    Raises:
        DataError: names the groups, up to five.
    """
    groups = {name: images.splits[name].groups for name in parts if name in images.splits}
    members = {name: np.unique(each) for name, each in groups.items() if each is not None}
    for one, other in itertools.combinations(members, 2):
        both = np.intersect1d(members[one], members[other]).tolist()
        if both:
            what = "a group has" if len(both) == 1 else f"{len(both)} groups have"
            raise DataError(
                f"{where}: {what} images in both {one} and {other}: {first_few(both)}.",
                "move each group into one of them, or divide all images anew, groups whole: data.split.fractions = [0.8, 0.1, 0.1]",
            )


def _check_classes(read: str, classes: object, *, fewest: int) -> None:
    if not isinstance(classes, tuple) or not all(isinstance(name, str) and name for name in classes) or len(classes) < fewest:
        raise PluginError(f"{read}: classes are {classes!r}.", f"a tuple of at least {fewest} names")
    if len(set(classes)) < len(classes):
        raise PluginError(f"{read}: two classes have one name.")


def _check_split(read: str, name: object, split: object) -> None:
    if name not in ("train", "validation", "test"):
        raise PluginError(f'{read}: has a split "{name}".', "train, validation, test")
    if not isinstance(split, Split):
        raise PluginError(f"{read}: {name} is of type {type(split).__name__}.", "a tlkit.plugin.Split")
    targets, pixels = split.targets, split.pixels
    if not tasks.understanding(targets):
        arrays = dict.fromkeys(task.targets.array for task in tasks.KINDS.values())
        raise PluginError(f"{read}: {name}: targets are {_kind(targets)}.", f"an array {', or '.join(arrays)}")
    if pixels is not None and not (
        isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[3] == 3
    ):
        raise PluginError(f"{read}: {name}: pixels are {_kind(pixels)}.", "an array (N, H, W, 3) uint8, or None")
    if split.groups is not None and (not isinstance(split.groups, np.ndarray) or split.groups.shape != targets.shape[:1]):
        raise PluginError(f"{read}: {name}: groups are {_kind(split.groups)}.", "an array (N,) of names, or None")
    made = isinstance(split.files, ImageFiles | FileList)  # one by one, when they are asked for
    if not made and not (isinstance(split.files, tuple) and all(isinstance(file, Path | Member) for file in split.files)):
        raise PluginError(f"{read}: {name}: files are not a tuple of pathlib.Path.")


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"


def is_named(name: str) -> bool:
    """Return whether a name is that of a data set; one that needs to be told its folder is not meant where a folder has its name."""
    if not registry.offers(Dataset, name):
        return False
    if ":" in name or not Path(name).is_dir():
        return True
    found = registry.get(Dataset, name)
    return bool(found.files or found.downloads) or found.options is None or "path" not in found.options.model_fields
