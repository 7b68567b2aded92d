"""Labels as a caller has them, to class names and numbers; weights of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.errors import TlkitError, first_few, nearest
from tlkit.model import pictures

_MOST_UNNAMED = 100_000  # classes that nobody named or counted: more are identifiers, which no class number is


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


def labels_of(y: object, *, known: Labels, where: str) -> tuple[tuple[str, ...], NDArray[np.int64] | NDArray[np.uint8]]:
    """Return class names and labels: (N,) int64, or (N, classes) uint8 where an image may have several classes.

    Raises:
        TlkitError: they are no labels, or not of the known classes.
    """
    try:
        values = pictures.in_numpy(y) if isinstance(y, torch.Tensor) else np.asarray(y)
    except ValueError as error:
        columns = "one column per class, 1 where an image has it: [[1, 0, 0], [0, 1, 1]]"
        raise TlkitError(f"{where}: y has lists of several lengths.", columns) from error
    if values.dtype.kind == "U" and isinstance(y, list | tuple) and not all(isinstance(each, str) for each in y):
        values = np.array(y, dtype=object)  # numpy calls a missing value among names "nan"
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]  # as Keras's data sets have them
    if values.ndim == 2:
        return _of_columns(*_by_name(values, getattr(y, "columns", ()), known=known, where=where), where=where)
    if values.ndim == 0:
        raise TlkitError(f"{where}: y is {article(y)}, not a label for each image.", "numbers or names (N,)")
    if values.ndim != 1:
        raise TlkitError(f"{where}: y has shape {values.shape}.", "numbers or names (N,), or one column per class (N, classes)")
    if known.several:
        raise TlkitError(
            f"{where}: y has one class an image, and the head answers for several.", "y of shape (N, classes), 0 or 1"
        )
    if values.dtype.kind in "US" or (values.dtype == object and all(isinstance(each, str) for each in values)):
        return _of_names(values.astype(str), known=known, where=where)
    numbers = _whole_numbers(values, where=where)
    largest = int(numbers.max(initial=0))
    if known.count is None and largest >= _MOST_UNNAMED:
        raise TlkitError(
            f"{where}: y has numbers up to {largest:,}, and numbers without names are classes from 0 to the largest.",
            "to number the classes that there are: y = np.unique(y, return_inverse=True)[1]",
        )
    count = known.count if known.count is not None else largest + 1
    if len(numbers) and (numbers.min() < 0 or largest >= count):
        classes = (
            f"the model has {count} classes: 0 to {count - 1}" if known.count is not None else "classes are numbered from 0"
        )
        more = f'to learn more classes: model.save(FOLDER), then Model(.., weights="run:FOLDER", classes={largest + 1})'
        hint = "they begin at 0: y - 1" if numbers.min() == 1 and largest == count else more if numbers.min() >= 0 else ""
        raise TlkitError(f"{where}: y has labels from {numbers.min()} to {largest}, and {classes}.", hint)
    return known.names or tuple(map(str, range(count))), numbers.astype(np.int64)


def class_weights(given: object, names: Sequence[str]) -> object:
    """Return Keras's `class_weight`, class numbers or names to weights, as loss.class_weights has it.

    Raises:
        TlkitError: a number is of no class.
    """
    if isinstance(given, list | tuple) or hasattr(given, "__array__"):
        raise TlkitError(
            f"Model.fit: class_weight: is {article(given)}.", "class_weight=dict(enumerate(weights)), or 'balanced'"
        )
    if not isinstance(given, Mapping):
        return given
    found = {}
    for key, weight in given.items():
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            if not 0 <= key < len(names):
                raise TlkitError(f"Model.fit: class_weight: there is no class {key}.", f"classes: 0 to {len(names) - 1}")
            found[names[int(key)]] = _weight(key, weight)
        elif key in names:
            found[str(key)] = _weight(key, weight)
        else:
            raise TlkitError(
                f'Model.fit: class_weight: there is no class "{key}".', f"classes: {first_few(names)}", nearest(str(key), names)
            )
    return found


def article(value: object) -> str:
    """Return the type of a value with its article: "a list"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _whole_numbers(values: NDArray[Any], *, where: str) -> NDArray[Any]:
    """Return labels as whole numbers, of which floats and Python's objects may be some."""
    if values.dtype == object and all(isinstance(each, int | np.integer) for each in values):
        return np.array([int(each) for each in values], dtype=object)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise TlkitError(f"{where}: y has values that are not finite numbers.", "class numbers from 0, or class names")
        if (values == np.rint(values)).all() and (np.abs(values.astype(np.float64)) < 2**53).all():
            return values.astype(np.int64)
    if values.dtype.kind not in "iub":
        kinds = sorted({type(each).__name__ for each in values.tolist()})
        raise TlkitError(
            f"{where}: y holds {' and '.join(kinds)}.", "class numbers from 0, or class names, and no missing value"
        )
    return values.astype(np.int64) if values.dtype.kind == "b" else values


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


def _by_name(values: NDArray[Any], columns: Sequence[object], *, known: Labels, where: str) -> tuple[NDArray[Any], Labels]:
    """Return the columns of a table in the order of the classes that they name, and the classes; numbers name none.

    Raises:
        TlkitError: they name one twice, or others than the model has.
    """
    names = tuple(str(each) for each in columns if isinstance(each, str))
    if not names or len(names) < len(columns):
        return values, known
    if known.names and known.names == tuple(map(str, range(len(known.names)))):
        return values, known
    if len(set(names)) < len(names):
        raise TlkitError(f"{where}: y has columns of one name: {first_few(names)}.", "a name for each class")
    if not known.names or (known.assumed and set(names) != set(known.names)):
        return values, replace(known, names=names)
    if sorted(names) != sorted(known.names):
        raise TlkitError(
            f"{where}: y has other columns than the model has classes: {first_few(names)}.",
            f"classes: {first_few(known.names)}", "where the columns are in this order: y.to_numpy()",
        )  # fmt: skip
    return values[:, [names.index(name) for name in known.names]], known


def _of_columns(
    values: NDArray[Any], known: Labels, *, where: str
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


def _weight(key: object, weight: Any) -> float:
    try:
        if not isinstance(weight, str):
            return float(weight)
    except (TypeError, ValueError):
        pass
    raise TlkitError(f"Model.fit: class_weight: of class {key} is {weight!r}.", "a number, 0 or more")
