"""Read the splits of a data set in shards: labels from the indexes, images one by one when they are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, first_few, nearest
from tlkit.plugin import DataFiles, ImageFiles, Images, Member, Split, Storage, hold_out
from tlkit_shards import ParquetOptions, ShardsOptions, index
from tlkit_shards.index import Index
from tlkit_shards.readers import Reader, reader


def read(found: DataFiles, options: ShardsOptions | ParquetOptions) -> Images:
    """Return the splits. The images of one are in the order of their names, in whichever file they lie.

    Without test images, of each class the max(1, round(test_fraction * n)) images whose names have the smallest SHA-256 become the test set.

    Raises:
        DataError: fewer than two classes, a label that is none of them, or an index that is gone.
    """
    record = json.loads(found.files[0].read_text(encoding="utf-8"))
    parts = {role: [index.load(Path(path)) for path in listed] for role, listed in record["parts"].items()}
    classes = _classes(parts, record["classes"], record["root"])
    labels = _labels(parts, classes, given=bool(record["classes"]))
    splits = {role: _split(indexes, classes, labels, record) for role, indexes in parts.items()}
    if len(splits) > 1:
        return Images(classes, splits)
    every, files = splits["train"], splits["train"].files
    assert isinstance(files, _Members)
    held_out = hold_out([classes[label] for label in every.targets.tolist()], files.names(), options.test_fraction)
    tested = np.array(held_out, bool)
    return Images(classes, {"train": _some(every, ~tested), "test": _some(every, tested)}, test_held_out=True)


class _Members(ImageFiles):
    """The images of a split, by columns of numpy: about 100 bytes an image.

    Args:
        indexes: Of the files.
        order: (N,) positions in the files, one after the other, of the split's images.
        read: Reads the content of an image.
    """

    def __init__(self, indexes: Sequence[Index], order: NDArray[np.int64], read: Reader) -> None:
        self._places, self._read = [each.place for each in indexes], read
        self._file = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(each) for each in indexes])[order]
        columns = ("names", "group", "begin", "size", "digest")
        self._names, self._group, self._begin, self._size, self._digest = (
            np.concatenate([getattr(each, name) for each in indexes])[order] for name in columns
        )

    def __len__(self) -> int:
        return len(self._file)

    def one(self, index: int) -> Member:
        """Return an image, 0 <= index < their number."""
        place, size = self._places[self._file[index]], int(self._size[index])
        content = partial(self._read, place, int(self._group[index]), int(self._begin[index]), size)
        return Member(f"{place}/{self._names[index].decode()}", size, self._digest[index].tobytes(), content)

    def names(self) -> list[str]:
        """Return what each image is called in its file."""
        return [name.decode() for name in self._names.tolist()]

    def some(self, indices: NDArray[np.int64]) -> _Members:
        """Return some of the images."""
        chosen = object.__new__(_Members)
        chosen._places, chosen._read = self._places, self._read
        for name in ("_file", "_names", "_group", "_begin", "_size", "_digest"):
            setattr(chosen, name, getattr(self, name)[indices])
        return chosen


def _split(indexes: Sequence[Index], classes: tuple[str, ...], labels: Mapping[str, int], record: dict[str, Any]) -> Split:
    names = np.concatenate([each.names for each in indexes])
    order = np.argsort(names, kind="stable")
    targets = np.concatenate([_targets(each, classes, labels) for each in indexes])[order]
    file = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(each) for each in indexes])
    storage = Storage(tuple(each.place for each in indexes), file[order], order, record["buffer"])
    most = _spanned(indexes, record["buffer"])
    reads = reader(record["kind"], seekable=record["seekable"], column=record["column"], most=most)
    return Split(targets=targets, files=_Members(indexes, order, reads), storage=storage)


def _spanned(indexes: Sequence[Index], buffer: int | None) -> int | None:
    """Return in how many archives, or row groups, so many images lie at most."""
    if buffer is None:
        return None
    counts = np.concatenate([np.unique(each.group, return_counts=True)[1] for each in indexes])
    smallest = np.cumsum(np.sort(counts))
    return 2 + int(np.searchsorted(smallest, buffer))


def _some(split: Split, chosen: NDArray[np.bool_]) -> Split:
    files, storage, indices = split.files, split.storage, np.flatnonzero(chosen)
    assert isinstance(files, _Members)
    assert storage is not None
    own = Storage(storage.files, storage.file[indices], storage.place[indices], storage.buffer)
    return Split(targets=split.targets[indices], files=files.some(indices), storage=own)


def _classes(parts: dict[str, list[Index]], given: Sequence[str], root: str) -> tuple[str, ...]:
    """Return the names of the classes: as they are given, else the labels themselves, by value where all are whole numbers."""
    if given:
        return tuple(given)
    names = sorted({label.decode() for each in parts["train"] for label in np.unique(each.labels).tolist()})
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        names.sort(key=int)
    if len(names) < 2:
        raise DataError(f"{root}: its training images are of one class ({', '.join(names)}), and two are needed.")
    return tuple(names)


def _labels(parts: dict[str, list[Index]], classes: tuple[str, ...], *, given: bool) -> dict[str, int]:
    """Return the label of each text that stands for a class.

    Where the names of the classes are given in order, a number is a position among them, whatever they are called: "1" is the second of
    the classes "1", "10" and "2". Where a text is no position, names count before numbers.
    """
    names = {name: at for at, name in enumerate(classes)}
    texts = {text.decode() for listed in parts.values() for each in listed for text in np.unique(each.labels).tolist()}
    if not given:
        return names
    numbers = {text: int(text) for text in texts if re.fullmatch(r"[0-9]+", text) and int(text) < len(classes)}
    return numbers if len(numbers) == len(texts) else numbers | names


def _targets(one: Index, classes: tuple[str, ...], labels: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the labels (N,) of a file's images."""
    texts, inverse = np.unique(one.labels, return_inverse=True)
    found = []
    for text in map(bytes.decode, texts.tolist()):
        if text not in labels:
            raise DataError(
                f'{one.place}: has an image of class "{text}", which is none of the {len(classes):,} classes.',
                f"classes: {first_few(classes)}", nearest(text, classes), "data.options.classes names them in order",
            )  # fmt: skip
        found.append(labels[text])
    return np.array(found, np.int64)[inverse.reshape(-1)]
