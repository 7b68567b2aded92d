"""What is known of the images before training: classes, counts, and the images themselves where they are here. No torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tlkit import datasets, files, sources, splits
from tlkit.errors import DataError, DataMissing
from tlkit.plans import DataFacts, ImagesPlan
from tlkit.plugin import Dataset, Found, Images, Split
from tlkit.resolve import Resolved
from tlkit.sources import Places
from tlkit.splits import Chosen


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
        found = sources.find_data(resolved.arm.data.name, dataset, resolved.data_options, places, fetch=False)
    except DataMissing as error:
        count = classes or dataset.classes
        if count is None:
            raise DataMissing(
                error.problem, *error.hints, "to plan without images, say how many classes: --classes N"
            ) from error
        return _nominal(resolved, dataset, seed, count)
    return facts(resolved, images(dataset, found, resolved), seed=seed)[0]


def facts(resolved: Resolved, images: Images, *, seed: int) -> tuple[DataFacts, Chosen]:
    """Split the images as the recipe says, and count them."""
    labels = {name: split.labels for name, split in images.splits.items()}
    return _counted(resolved, labels, images.classes, seed, "counted", groups=images.splits["train"].groups)


def images(dataset: Dataset, found: Found, resolved: Resolved) -> Images:
    """Read a data set, once for as long as its files do not change and no two others are read.

    Where the recipe splits all of its images anew, they are all in "train".
    """
    return _read(_Key(dataset, found, resolved))


class _Key:
    """Makes `_read` remember by what determines the images."""

    def __init__(self, dataset: Dataset, found: Found, resolved: Resolved) -> None:
        self.dataset, self.found, self.options = dataset, found, resolved.data_options
        self.pooled = resolved.arm.data.split.fractions is not None
        self._same = (dataset.read, found, repr(self.options), files.states(found.files), self.pooled)

    def __hash__(self) -> int:
        return hash(self._same)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._same == other._same


@lru_cache(maxsize=2)  # images may be gigabytes
def _read(key: _Key) -> Images:
    images = datasets.read_data(key.dataset, key.found, key.options)
    return Images(images.classes, {"train": _pooled(images)}) if key.pooled else images


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
    labels = {name: np.arange(count) % classes for name, count in nominal.items()}
    return _counted(resolved, labels, tuple(map(str, range(classes))), seed, "nominal")[0]


def _counted(
    resolved: Resolved,
    labels: dict[str, NDArray[np.int64]],
    classes: tuple[str, ...],
    seed: int,
    source: Literal["counted", "nominal"],
    *,
    groups: NDArray[np.str_] | None = None,
) -> tuple[DataFacts, Chosen]:
    own = "validation" in labels
    chosen = splits.choose(labels["train"], classes, resolved.arm.data.split, seed=seed, held_out=own, groups=groups)
    validation = len(labels["validation"]) if own else len(chosen.validation)
    test = len(labels.get("test", ())) if chosen.test is None else len(chosen.test)
    counts = ImagesPlan(len(chosen.train), validation, test, source)
    return DataFacts(len(classes), counts), chosen
