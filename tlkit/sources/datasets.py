"""What a data set's plugin hands over, checked. Imports no torch itself; a plugin may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from tlkit import plugin
from tlkit.errors import DataError, PluginError, first_few
from tlkit.plugin import DataFiles, Dataset, Images, Split


def read_data(dataset: Dataset, found: DataFiles, options: BaseModel | None) -> Images:
    """Let the plugin read what was found, and check what it hands over.

    Raises:
        DataError: as the plugin says it.
        PluginError: it broke the contract of `tlkit.plugin.Images`.
    """
    images = plugin.call(dataset.read, found, options)
    if not isinstance(images, Images) or not isinstance(images.splits, Mapping) or "train" not in images.splits:
        raise PluginError(f"{dataset.read}: gave {type(images).__name__}, not tlkit.plugin.Images with a split named train.")
    _check_classes(dataset.read, images.classes)
    for name, split in images.splits.items():
        _check_split(dataset.read, name, split)
        count = len(split.files) if split.pixels is None else len(split.pixels)
        if count != len(split.labels) or count == 0:
            raise DataError(
                f"{found.root}: {name}: {count} images and {len(split.labels)} labels.", "as many of both, at least one"
            )
        if split.labels.ndim == 2:
            _check_many(f"{found.root}: {name}", split, len(images.classes))
            continue
        wrong = split.labels[(split.labels < 0) | (split.labels >= len(images.classes))]
        if len(wrong):
            raise DataError(
                f"{found.root}: {name}: label {wrong[0]} is out of range.",
                f"labels of {len(images.classes)} classes are 0 to {len(images.classes) - 1}",
            )
    if len({split.labels.ndim for split in images.splits.values()}) > 1:
        raise PluginError(f"{dataset.read}: labels of one split are (N,), of another (N, classes).")
    return images


def refuse_unlearnable(images: Images, where: str) -> None:
    """Refuse classes that held-out images have and no training image has.

    Raises:
        DataError: names each, up to five.
    """
    if images.splits["train"].labels.ndim == 2:
        return
    learned = set(np.unique(images.splits["train"].labels).tolist())
    for name, split in images.splits.items():
        absent = sorted(set(np.unique(split.labels).tolist()) - learned)
        if absent:
            shown = first_few(images.classes[label] for label in absent)
            raise DataError(
                f"{where}: {name} has images of class {shown}, of which there is no training image.",
                "add training images of it, take its images away, or split all images anew: data.split.fractions",
            )


def _check_many(where: str, split: Split, classes: int) -> None:
    if split.labels.shape[1] != classes:
        raise DataError(f"{where}: labels are of {split.labels.shape[1]} classes, and there are {classes}.")
    if split.labels.max() > 1:
        raise DataError(f"{where}: a label is {split.labels.max()}.", "1 for a class that an image has, else 0")


def _check_classes(read: str, classes: object) -> None:
    if not isinstance(classes, tuple) or not all(isinstance(name, str) and name for name in classes) or len(classes) < 2:
        raise PluginError(f"{read}: classes are {classes!r}.", "a tuple of at least 2 names")
    if len(set(classes)) < len(classes):
        raise PluginError(f"{read}: two classes have one name.")


def _check_split(read: str, name: object, split: object) -> None:
    if name not in ("train", "validation", "test"):
        raise PluginError(f'{read}: has a split "{name}".', "train, validation, test")
    if not isinstance(split, Split):
        raise PluginError(f"{read}: {name} is a {type(split).__name__}.", "a tlkit.plugin.Split")
    labels, pixels = split.labels, split.pixels
    kinds = {1: np.int64, 2: np.uint8}
    if not isinstance(labels, np.ndarray) or labels.dtype != kinds.get(labels.ndim):
        raise PluginError(f"{read}: {name}: labels are {_kind(labels)}.", "an array (N,) int64, or (N, classes) uint8")
    if pixels is not None and not (
        isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[3] == 3
    ):
        raise PluginError(f"{read}: {name}: pixels are {_kind(pixels)}.", "an array (N, H, W, 3) uint8, or None")
    if split.groups is not None and (not isinstance(split.groups, np.ndarray) or split.groups.shape != labels.shape[:1]):
        raise PluginError(f"{read}: {name}: groups are {_kind(split.groups)}.", "an array (N,) of names, or None")
    if not isinstance(split.files, tuple) or not all(isinstance(file, Path) for file in split.files):
        raise PluginError(f"{read}: {name}: files are not a tuple of pathlib.Path.")


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
