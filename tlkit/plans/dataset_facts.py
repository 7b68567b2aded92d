"""What is known of the images before training: classes, counts, and the images themselves where they are here. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tlkit import files, units
from tlkit.errors import DataError, DataMissing, first_few
from tlkit.plans.plan import DataFacts, ImagesPlan
from tlkit.plans.resolve import Resolved, Source
from tlkit.plugin import DataFiles, Dataset, Images, Split
from tlkit.sources import data_files, datasets, image_files, splits
from tlkit.sources.places import Places
from tlkit.sources.splits import Chosen

Labels = NDArray[np.int64] | NDArray[np.uint8]  # as in `tlkit.plugin.Split`


def known(resolved: Resolved, places: Places, *, seed: int, classes: int | None) -> DataFacts:
    """Count what can be counted, without a download.

    Args:
        resolved: The arm.
        places: Where to look.
        seed: Of the split.
        classes: Assumed where there is nothing to count.

    Raises:
        DataMissing: there are no images, no official counts, and no assumption.
    """
    dataset = resolved.dataset
    try:
        found = data_files.find_data(resolved.arm.data.name, dataset, resolved.data_options, places, fetch=False)
    except DataMissing as error:
        count = classes or dataset.classes
        if count is None:
            raise DataMissing(
                error.problem, *error.hints, "to plan without images, say how many classes: --classes N"
            ) from error
        return _nominal(resolved, dataset, seed, count)
    mine = images(dataset, found, resolved)
    counted = facts(resolved, mine, seed=seed)[0]
    also = {}
    for name, source in resolved.also.items():
        with suppress(DataMissing):
            there = data_files.find_data(source.name, source.dataset, source.options, replace(places, data=None), fetch=False)
            other = other_images(source, there, mine.classes, where=f"also.{name}")
            also[name] = len(other.splits["test"].labels)
    table = resolved.arm.data
    every = [file for split in mine.splits.values() for file in split.files]
    problem = image_files.unreadable(every, max_pixels=table.max_pixels, on_corrupt=table.on_corrupt)
    warnings = (*counted.warnings, *unused(found), *filter(None, [problem]))
    return replace(counted, images=replace(counted.images, also=also), warnings=warnings)


def facts(resolved: Resolved, images: Images, *, seed: int) -> tuple[DataFacts, Chosen]:
    """Split the images as the recipe says, and count them."""
    labels: dict[str, Labels] = {name: split.labels for name, split in images.splits.items()}
    return _counted(resolved, labels, images.classes, seed, "counted", groups=images.splits["train"].groups)


def images(dataset: Dataset, found: DataFiles, resolved: Resolved) -> Images:
    """Read a data set, once for as long as its files do not change and no few others are read.

    Where the recipe splits all of its images anew, they are all in "train".
    """
    pooled = resolved.arm.data.split.fractions is not None
    return _read(_Key(dataset, found, resolved.data_options, pooled=pooled))


def other_images(source: Source, found: DataFiles, classes: tuple[str, ...], *, where: str) -> Images:
    """Read a data set that is only evaluated: its test images, with the labels of the classes that are trained on.

    Args:
        source: The data set.
        found: Its files.
        classes: That are trained on.
        where: Begins every message.

    Raises:
        DataError: it has no test images, or images of another class.
    """
    key = _Key(source.dataset, found, source.options, pooled=False)
    images = _read(key)
    if "test" not in images.splits:
        raise DataError(f"{where}: {source.name} has no test images.", "another data set, or options that give it some")
    unknown = [name for name in images.classes if name not in classes]
    if unknown:
        raise DataError(
            f"{where}: {source.name} has classes that are not trained on: {', '.join(unknown[:5])}.",
            f"classes: {', '.join(classes[:10])}",
        )
    return _labelled(key, classes)


@lru_cache(maxsize=4)
def _labelled(key: _Key, classes: tuple[str, ...]) -> Images:
    """Return a data set's test images with the labels of other classes, of which its own are some."""
    images = _read(key)
    test = images.splits["test"]
    places = [classes.index(name) for name in images.classes]
    if test.labels.ndim == 2:
        many = np.zeros((len(test.labels), len(classes)), np.uint8)
        many[:, places] = test.labels
        return Images(classes, {"test": replace(test, labels=many)})
    return Images(classes, {"test": replace(test, labels=np.array(places, np.int64)[test.labels])})


class _Key:
    """Makes `_read` remember by what determines the images."""

    def __init__(self, dataset: Dataset, found: DataFiles, options: BaseModel | None, *, pooled: bool) -> None:
        self.dataset, self.found, self.options, self.pooled = dataset, found, options, pooled
        self._same = (dataset.read, found, repr(self.options), files.states(found.files), self.pooled)

    def __hash__(self) -> int:
        return hash(self._same)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._same == other._same


@lru_cache(maxsize=3)  # images may be gigabytes
def _read(key: _Key) -> Images:
    images = datasets.read_data(key.dataset, key.found, key.options)
    if key.pooled:
        return Images(images.classes, {"train": _pooled(images)})
    datasets.refuse_unlearnable(images, str(key.found.root))
    return images


def _pooled(images: Images) -> Split:
    """All images in one, in the order train, validation, test."""
    parts = [images.splits[name] for name in ("train", "validation", "test") if name in images.splits]
    pixels = [part.pixels for part in parts if part.pixels is not None]
    if pixels and (len(pixels) < len(parts) or len({each.shape[1:] for each in pixels}) > 1):
        raise DataError(
            "data.split.fractions: the splits of this data set are of different kinds or sizes and cannot be pooled."
        )
    groups = [part.groups for part in parts if part.groups is not None]
    return Split(
        labels=np.concatenate([part.labels for part in parts]),
        files=tuple(file for part in parts for file in part.files),
        pixels=np.concatenate(pixels) if pixels else None,
        groups=np.concatenate(groups) if len(groups) == len(parts) else None,
    )


def _nominal(resolved: Resolved, dataset: Dataset, seed: int, classes: int) -> DataFacts:
    if not dataset.nominal:
        return DataFacts(classes, ImagesPlan(0, 0, 0, "unknown"))
    nominal = dataset.nominal
    if resolved.arm.data.split.fractions is not None:
        nominal = {"train": sum(nominal.values())}
    labels: dict[str, Labels] = {name: np.arange(count) % classes for name, count in nominal.items()}
    return _counted(resolved, labels, tuple(map(str, range(classes))), seed, "nominal")[0]


def _counted(
    resolved: Resolved,
    labels: dict[str, Labels],
    classes: tuple[str, ...],
    seed: int,
    source: Literal["counted", "nominal"],
    *,
    groups: NDArray[np.str_] | None = None,
) -> tuple[DataFacts, Chosen]:
    own, mine = "validation" in labels, labels["train"]
    many = mine.ndim == 2  # then no class is balanced: all images are dealt out as if they were of one
    strata = (np.zeros(len(mine), dtype=np.int64), ("any",)) if many else (mine.astype(np.int64, copy=False), classes)
    chosen = splits.choose(*strata, resolved.arm.data.split, seed=seed, held_out=own, groups=groups)
    validation = len(labels["validation"]) if own else len(chosen.validation)
    test = len(labels.get("test", ())) if chosen.test is None else len(chosen.test)
    counts = ImagesPlan(len(chosen.train), validation, test, source)
    if source == "nominal":
        return DataFacts(len(classes), counts), chosen
    held_out = {
        "validation": labels["validation"] if own else mine[chosen.validation],
        "test": labels.get("test", mine[:0]) if chosen.test is None else mine[chosen.test],
    }
    found = DataFacts(
        len(classes), counts, classes, per_class(mine[chosen.train], len(classes)), many, absent(held_out, classes)
    )
    return found, chosen


def unused(found: DataFiles) -> tuple[str, ...]:
    """Say which image files lie beside the classes and are not used."""
    if not found.unused:
        return ()
    names, one = first_few(map(str, found.unused)), len(found.unused) == 1
    lies = "lies beside the class folders and is" if one else "lie beside the class folders and are"
    return (f"{units.images(len(found.unused))} {lies} not used: {names}",)


def absent(parts: Mapping[str, Labels], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Say of which classes the held-out images have none, so that a metric of every class leaves these out."""
    lines = []
    for part, labels in parts.items():
        if len(labels) and labels.ndim == 1 and len(missing := np.setdiff1d(np.arange(len(classes)), labels)):
            names = first_few(classes[label] for label in missing.tolist())
            lines.append(f"{part}: there is no image of {names}; what is said of them means nothing")
    return tuple(lines)


def per_class(labels: Labels, classes: int) -> tuple[int, ...]:
    """Count the images of every class."""
    counts = labels.sum(0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    return tuple(counts.tolist())
