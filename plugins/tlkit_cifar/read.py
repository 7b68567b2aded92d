"""Read CIFAR-10 and CIFAR-100 batches into pixels and labels.

The number of images is free, because reduced copies exist; everything else is checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Images, Split
from tlkit_cifar.unpickle import Array, text, unpickle

_PIXELS = 3 * 32 * 32  # values of an image: 1024 red, then 1024 green, then 1024 blue, each row by row


def cifar10(found: DataFiles, options: None = None) -> Images:
    """Return CIFAR-10: "train" of five batches in order and "test", pixels (N, 32, 32, 3) uint8 RGB.

    Raises:
        DataError: a file is damaged, or its shapes, labels or class names are not CIFAR-10's.
    """
    meta, *train, test = found.files
    return Images(
        classes=_names(meta, key="label_names", count=10),
        splits={
            "train": _split(train, key="labels", classes=10),
            "test": _split([test], key="labels", classes=10),
        },
    )


def cifar100(found: DataFiles, options: None = None) -> Images:
    """Return CIFAR-100 with its 100 fine classes: "train" and "test", pixels (N, 32, 32, 3) uint8 RGB.

    Raises:
        DataError: a file is damaged, or its shapes, labels or class names are not CIFAR-100's.
    """
    meta, train, test = found.files
    return Images(
        classes=_names(meta, key="fine_label_names", count=100),
        splits={
            "train": _split([train], key="fine_labels", classes=100),
            "test": _split([test], key="fine_labels", classes=100),
        },
    )


def _names(path: Path, *, key: str, count: int) -> tuple[str, ...]:
    names = _entry(unpickle(path), key, path)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise DataError(f'{path}: "{key}" is not a list of class names.')
    classes = tuple(text(name) for name in names)
    if len(set(classes)) != count or len(classes) != count:
        raise DataError(f'{path}: "{key}" names {len(set(classes))} different classes, not {count}.')
    return classes


def _split(paths: list[Path], *, key: str, classes: int) -> Split:
    batches = [_batch(path, key=key, classes=classes) for path in paths]
    pixels = np.empty((sum(len(labels) for _, labels in batches), 32, 32, 3), np.uint8)
    start = 0
    for rows, labels in batches:
        planes = rows.reshape(-1, 3, 32, 32)  # (n, 3, 32, 32)
        pixels[start : start + len(labels)] = planes.transpose(0, 2, 3, 1)
        start += len(labels)
    return Split(targets=np.concatenate([labels for _, labels in batches]), pixels=pixels)


def _batch(path: Path, *, key: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the rows (n, 3072) and labels (n,) of one file, checked."""
    content = unpickle(path)
    rows = _rows(_entry(content, "data", path), path)
    labels = _labels(_entry(content, key, path), path, key=key, classes=classes)
    if len(rows) != len(labels):
        raise DataError(f"{path}: holds {len(rows)} images but {len(labels)} labels.")
    return rows, labels


def _entry(content: dict[str, object], key: str, path: Path) -> object:
    if key not in content:
        has = ", ".join(sorted(content)[:10]) or "nothing"
        raise DataError(f'{path}: has no entry "{key}".', f"entries: {has}"[:200])
    return content[key]


def _rows(data: object, path: Path) -> NDArray[np.uint8]:
    if not isinstance(data, Array):
        raise DataError(f'{path}: "data" is {type(data).__name__}, not an array (N, {_PIXELS}) uint8.')
    shape, dtype = data.values.shape, data.values.dtype
    if dtype != np.uint8 or len(shape) != 2 or shape[0] == 0 or shape[1] != _PIXELS:
        problem = f'{path}: "data" is {shape} {dtype}, not (N, {_PIXELS}) uint8.'
        raise DataError(problem, "a row is one image of 32x32: 1024 red, 1024 green and 1024 blue values")
    return data.values.astype(np.uint8, copy=False)


def _labels(value: object, path: Path, *, key: str, classes: int) -> NDArray[np.int64]:
    labels = value.values.tolist() if isinstance(value, Array) else value
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f'{path}: "{key}" is not a list of whole numbers.')
    for position, label in enumerate(labels):
        if not 0 <= label < classes:
            raise DataError(f'{path}: "{key}" has {label} at position {position}.', f"labels: 0 to {classes - 1}")
    return np.array(labels, np.int64)
