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


@dataclass(frozen=True)
class Labels:
    """What is known of the classes before the labels are read.

    Attributes:
        names: In output order; () where they are not known.
        count: How many; None where that is not known.
        several: An image may have any number of classes.
        assumed: The names are those of a run, and images that are trained on may have others.
    """

    names: tuple[str, ...]
    count: int | None
    several: bool
    assumed: bool = False


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
        names = [entry.name for entry in registry.entries(Dataset)]
        raise TlkitError(
            f"{where}: x is {_article(x)}, which is neither images nor the name of a data set nor a folder.",
            pictures.WANTED, f"data sets: {', '.join(names)}",
        )  # fmt: skip
    found = pictures.read(x, where=where, bands=bands)
    if y is None:
        raise TlkitError(f"{where}: y is missing: arrays and lists need labels.", f"{where.rpartition('.')[2]}(x, y)")
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
            raise TlkitError(f"{where}: an item of the data set is {_article(item)}, not a pair (image, label).")
        found.append(pictures.read([item[0]], where=where, bands=bands)[0])
        labels.append(item[1].tolist() if isinstance(item[1], torch.Tensor | np.ndarray | np.generic) else item[1])
    return _images(found, labels, known=_with_names(known, getattr(x, "classes", None)), where=where)


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
    if len(classes) < 2:
        raise TlkitError(f"{where}: y has one class, {', '.join(classes) or 'of none'}.", _TWO_CLASSES)
    if len(found) != len(targets):
        raise TlkitError(f"{where}: x has {len(found):,} images, and y has {len(targets):,} labels.")
    if not len(found):
        raise TlkitError(f"{where}: x holds no images.")
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


def labels_of(y: object, *, known: Labels, where: str) -> tuple[tuple[str, ...], NDArray[np.int64] | NDArray[np.uint8]]:
    """Return class names and labels: (N,) int64, or (N, classes) uint8 where an image may have several classes.

    Raises:
        TlkitError: they are no labels, or not of the known classes.
    """
    try:
        values = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
    except ValueError as error:
        raise TlkitError(f"{where}: y is not an array of labels: {error}.") from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]  # as Keras's data sets have them
    if values.ndim == 2:
        return _of_columns(values, known=known, where=where)
    if values.ndim != 1:
        raise TlkitError(f"{where}: y has shape {values.shape}.", "numbers or names (N,), or one column per class (N, classes)")
    if known.several:
        raise TlkitError(
            f"{where}: y has one class an image, and the head answers for several.", "y of shape (N, classes), 0 or 1"
        )
    if values.dtype.kind in "US" or (values.dtype == object and all(isinstance(each, str) for each in values)):
        return _of_names(values.astype(str), known=known, where=where)
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise TlkitError(f"{where}: y is of type {values.dtype}.", "class numbers from 0, or class names")
    numbers = values.astype(np.int64)
    count = known.count if known.count is not None else int(numbers.max(initial=0)) + 1
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise TlkitError(
            f"{where}: y has labels from {numbers.min()} to {numbers.max()}, and the model has {count} classes: 0 to {count - 1}."
        )
    return known.names or tuple(map(str, range(count))), numbers


def _of_names(values: NDArray[np.str_], *, known: Labels, where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    found = sorted(set(values.tolist()))
    names = tuple(found) if not known.names or (known.assumed and not set(found) <= set(known.names)) else known.names
    if unknown := [name for name in found if name not in names]:
        raise TlkitError(
            f"{where}: y names a class that the model has not: {first_few(unknown)}.",
            f"classes: {first_few(names)}", nearest(unknown[0], names),
        )  # fmt: skip
    if known.count not in (None, len(names)):
        raise TlkitError(
            f"{where}: y names {len(names)} classes, and the model has {known.count}.", f"y has {first_few(names)}"
        )
    place = {name: index for index, name in enumerate(names)}
    return names, np.array([place[name] for name in values.tolist()], dtype=np.int64)


def _of_columns(
    values: NDArray[Any], *, known: Labels, where: str
) -> tuple[tuple[str, ...], NDArray[np.int64] | NDArray[np.uint8]]:
    """Columns of 0 and 1: one-hot, or for a head of several classes any number of ones."""
    count = known.count if known.count is not None else values.shape[1]
    if values.shape[1] != count:
        raise TlkitError(f"{where}: y has {values.shape[1]} columns, and the model has {count} classes.")
    if values.dtype.kind not in "iubf" or not np.isin(values, (0, 1)).all():
        raise TlkitError(f"{where}: y of shape {values.shape} has other values than 0 and 1.")
    names = known.names or tuple(map(str, range(count)))
    if known.several:
        return names, values.astype(np.uint8)
    if not (values.sum(1) == 1).all():
        raise TlkitError(f"{where}: y has several classes an image, or none.", 'Model(.., head="multilabel")')
    return names, values.argmax(1).astype(np.int64)


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


def class_weights(given: object, names: Sequence[str]) -> object:
    """Return Keras's `class_weight`, class numbers or names to weights, as loss.class_weights has it.

    Raises:
        TlkitError: a number is of no class.
    """
    if not isinstance(given, Mapping):
        return given
    found = {}
    for key, weight in given.items():
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            if not 0 <= key < len(names):
                raise TlkitError(f"Model.fit: class_weight: there is no class {key}.", f"classes: 0 to {len(names) - 1}")
            found[names[int(key)]] = float(weight)
        else:
            found[str(key)] = float(weight)
    return found


def _article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
