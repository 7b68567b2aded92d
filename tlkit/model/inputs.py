"""What `fit` and `evaluate` accept as images and labels, read into a data set.

The rule: what a recipe can name (a folder, a data set) stays a name; everything else becomes `tlkit.plugin.Images` in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.errors import TlkitError, first_few, nearest
from tlkit.model import pictures
from tlkit.model.labels import Labels, article, labels_of
from tlkit.plugin import Dataset, Images, Split, registry
from tlkit.sources import datasets

MEMORY = "memory"  # stands for the name of a data set that is not on disk
_TWO_CLASSES = "a classifier needs images of two classes at least"


@dataclass(frozen=True)
class Given:
    """Images as they were given.

    Attributes:
        name: The data set's name in a recipe; MEMORY for images in memory.
        folder: Of data set "folder".
        images: Those in memory, all in the split "train"; None where the name says which.
    """

    name: str
    folder: Path | None = None
    images: Images | None = None


def read(x: object, y: object, *, known: Labels, where: str, bands: int | None = None) -> Given:
    """Read images and labels.

    Args:
        x: A data set's name, a folder, arrays, tensors, lists of paths or PIL images, or a torch data set of (image, label).
        y: Labels of arrays, tensors and lists: numbers (N,), names, or one column per class (N, classes).
        known: Of the classes.
        where: Begins every message: "Model.fit".
        bands: How many bands the images have; None of colour pictures.

    Raises:
        TlkitError: they are of another kind, or do not fit each other.
    """
    x = pictures.unwrapped(x)
    if isinstance(x, str | os.PathLike):
        if y is not None:
            raise TlkitError(f"{where}: y is given beside {x}.", "a folder or a data set has its own labels; leave y out")
        return _named(x, where=where)
    if isinstance(x, torch.utils.data.DataLoader):
        raise TlkitError(f"{where}: x is a DataLoader.", "give its data set: loader.dataset; fit makes the batches")
    if isinstance(x, torch.utils.data.Dataset):
        if y is not None:
            raise TlkitError(f"{where}: y is given beside a torch data set, which has the labels.", "leave y out")
        return Given(MEMORY, images=_of_dataset(x, known=known, where=where, bands=bands))
    if not isinstance(x, np.ndarray | torch.Tensor | list | tuple):
        batches = (
            "batches (x, y) are read first: x, y = map(np.concatenate, zip(*batches))"
            if hasattr(x, "__getitem__") or hasattr(x, "__iter__")
            else ""
        )
        raise TlkitError(
            f"{where}: x is {article(x)}, which is neither images nor the name of a data set nor a folder.",
            "" if isinstance(x, Mapping) else batches, pictures.WANTED, "or a torch data set of (image, label)",
        )  # fmt: skip
    found = pictures.read(x, where=where, bands=bands)
    if y is None:
        call = "validation_data=(x, y)" if where.endswith("validation_data") else f"{where.rpartition('.')[2]}(x, y)"
        raise TlkitError(f"{where}: y is missing: arrays and lists need labels.", call)
    return Given(MEMORY, images=_images(found, y, known=known, where=where))


def whole(given: Images) -> Split:
    """Return the images in memory."""
    return given.splits["train"]


def without_images(given: Images, *, known: Labels, where: str) -> str:
    """Say which classes have no image among those in memory that are trained on; "" where every class has one.

    Raises:
        TlkitError: all images are of one class.
    """
    targets = whole(given).targets
    if len(targets.shape) == 2:  # a column for each class
        there = np.flatnonzero(targets.any(0))
    else:
        there = np.unique(targets)
        if len(there) == 1:
            raise TlkitError(f"{where}: y has one class, {given.classes[int(there[0])]}.", _TWO_CLASSES)
    missing = np.setdiff1d(np.arange(len(given.classes)), there).tolist()
    if not missing:
        return ""
    shown = first_few(given.classes[number] for number in missing)
    said = f"{where}: y has no image of {len(missing):,} of {len(given.classes):,} classes: {shown}"
    if known.count is not None or known.names:
        return said
    return f"{said}; numbers without names are classes from 0 to the largest: number them from 0, or give names as y"


def almost_black(given: Images, *, where: str) -> str:
    """Say of images in memory that no pixel is above 1 of 255, as where bytes were made of floats; "" where one is."""
    pixels = whole(given).pixels
    if pixels is None or any(each.max() > 1 for each in pixels):
        return ""
    return f"{where}: no pixel of x is above 1 of 255; pixels from 0 to 1 are floats, and are not divided by 255 again"


def _named(x: str | os.PathLike[str], *, where: str) -> Given:
    name = str(x)
    if datasets.is_named(name):
        return Given(name)
    if not Path(x).is_dir():
        names = [entry.name for entry in registry.entries(Dataset)]
        raise TlkitError(
            f"{where}: {name} is neither a data set nor a folder.", nearest(name, names), f"data sets: {', '.join(names)}"
        )
    return Given("folder", folder=Path(x))


def _of_dataset(x: torch.utils.data.Dataset[Any], *, known: Labels, where: str, bands: int | None) -> Images:
    """Read a torch data set of (image, label) once."""
    found, labels = [], []
    for item in _items(x):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TlkitError(f"{where}: an item of the data set is {article(item)}, not a pair (image, label).")
        found.append(pictures.read([item[0]], where=where, bands=bands)[0])
        labels.append(item[1].tolist() if isinstance(item[1], torch.Tensor | np.ndarray | np.generic) else item[1])
    return _images(found, labels, known=_with_names(known, _class_names(x)), where=where)


def _class_names(x: torch.utils.data.Dataset[Any]) -> object:
    """Return what a data set of torchvision, or the one that it is a part of, calls its classes; None where it does not say."""
    while isinstance(x, torch.utils.data.Subset):  # as random_split returns
        x = x.dataset
    return getattr(x, "classes", None)


def _with_names(known: Labels, names: object) -> Labels:
    """Take the class names that a data set of torchvision has: its numbers are in their order, not in that of the model's classes."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return known
    fits = bool(known.names) or known.count in (None, len(names))
    numbers = known.names == tuple(map(str, range(len(known.names))))  # nobody named the model's classes
    return Labels(tuple(names), len(names), known.several) if fits and not (known.names and numbers) else known


def _items(x: torch.utils.data.Dataset[Any]) -> Iterable[Any]:
    if hasattr(x, "__len__"):
        return (x[index] for index in range(len(x)))
    return x  # type: ignore[return-value]  # an IterableDataset


def _images(found: Sequence[pictures.Picture] | NDArray[np.uint8], y: object, *, known: Labels, where: str) -> Images:
    classes, targets = labels_of(y, known=known, where=where)
    if len(found) != len(targets):
        raise TlkitError(f"{where}: x has {len(found):,} images, and y has {len(targets):,} labels.")
    if not len(found):
        raise TlkitError(f"{where}: x holds no images.")
    if len(classes) < 2:
        raise TlkitError(f"{where}: y has one class, {', '.join(classes) or 'of none'}.", _TWO_CLASSES)
    if isinstance(found, np.ndarray):
        return Images(classes, {"train": Split(targets, pixels=found)})
    files = tuple(each for each in found if isinstance(each, Path))
    if len(files) == len(found):
        return Images(classes, {"train": Split(targets, files=files)})
    if files:
        raise TlkitError(f"{where}: x has both paths and images.", "give only paths, or only images")
    return Images(
        classes, {"train": Split(targets, pixels=pictures.stacked(each for each in found if not isinstance(each, Path)))}
    )


def held_out(given: object, *, known: Labels, where: str, bands: int | None = None) -> Given:
    """Read `validation_data`: a pair (x, y), a folder, or a torch data set.

    Raises:
        TlkitError: as `read`; or it is the name of a data set.
    """
    if isinstance(given, tuple | list) and len(given) == 3:
        raise TlkitError(f"{where}: has three parts; single images cannot be weighed.", "(x, y)")
    x, y = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
    found = read(x, y, known=known, where=where, bands=bands)
    if found.images is None and found.folder is None:
        raise TlkitError(
            f'{where}: is the name of a data set, "{found.name}".',
            "a data set has its own validation images, or validation_split",
        )
    return found
