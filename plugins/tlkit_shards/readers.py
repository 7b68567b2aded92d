"""Read the content of one image out of a large file. Any number of threads may read."""

from __future__ import annotations

import lzma
import os
import tempfile
import threading
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from tlkit.errors import DataError
from tlkit_shards import parquet_files, places

_WINDOW = 4 << 20  # bytes that are asked for at a time where images are read one after the other
_OPEN = 4  # windows, or row groups, that are kept
Kept = TypeVar("Kept")


class Reader(Protocol):
    """Returns the content of an image from its file, its group, its first byte or row, and its size."""

    def __call__(self, place: str, group: int, begin: int, size: int) -> bytes:
        """Return the content; raises DataError where it cannot be read."""


def reader(kind: str, *, seekable: bool, column: str, most: int | None) -> Reader:
    """Return how images are read.

    Args:
        kind: "tar" or "parquet".
        seekable: Tar archives can be read from any position.
        column: Of the images in a parquet file.
        most: Files, or row groups, in which the images lie that are shuffled at a time; None where all are.
    """
    kept = _OPEN if most is None else most
    if kind == "parquet":
        return _RowGroups(column, kept)
    return _Ranges() if seekable else _Copies(kept)


class _Ranges:
    """Reads from any position; behind an address with few questions where images are read one after the other."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._ends: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, place: str, group: int, begin: int, size: int) -> bytes:
        if not places.is_address(place):
            return _checked(place, places.part(place, begin, size), size)
        with self._lock:
            at, window = self._windows.get(place, (0, b""))
            follows = 0 <= begin - self._ends.get(place, 0) < _WINDOW
            self._ends[place] = begin + size
        if at <= begin and begin + size <= at + len(window):
            return window[begin - at : begin - at + size]
        if not follows:
            return _checked(place, places.part(place, begin, size), size)
        window = places.part(place, begin, max(size, _WINDOW))
        with self._lock:
            self._windows[place] = begin, window
            self._windows.move_to_end(place)
            while len(self._windows) > _OPEN:
                self._windows.popitem(last=False)
        return _checked(place, window[:size], size)


class _Copies:
    """Copies a file that can only be read from beginning to end to a temporary file, and reads there; keeps the last few.

    Args:
        most: Files that are kept.
    """

    def __init__(self, most: int) -> None:
        self._copies: _Latest[_Copy] = _Latest(most, _Copy)

    def __call__(self, place: str, group: int, begin: int, size: int) -> bytes:
        with self._copies.lock:
            copy = self._copies.get(place)
        return _checked(place, os.pread(copy.file, size, begin), size)


class _Copy:
    """A copy of what a file holds, in a temporary file without a name, which is gone when nobody refers to it.

    Args:
        place: The file.
    """

    def __init__(self, place: str) -> None:
        try:
            self.file, name = tempfile.mkstemp(prefix="tlkit-")
            weakref.finalize(self, os.close, self.file)
            os.unlink(name)
            with places.stream(place) as stream:
                while chunk := stream.read(_WINDOW):
                    _write(self.file, chunk)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DataError(
                f"{place}: cannot be copied to {tempfile.gettempdir()}: {error}.", "TMPDIR names another folder"
            ) from error


def _write(file: int, content: bytes) -> None:
    """Write all of it."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


class _RowGroups:
    """Reads parquet files by whole row groups, and keeps the last few.

    Args:
        column: Of the images.
        most: Row groups that are kept.
    """

    def __init__(self, column: str, most: int) -> None:
        self._column = column
        self._groups: _Latest[list[bytes]] = _Latest(most, self._group)

    def __call__(self, place: str, group: int, begin: int, size: int) -> bytes:
        with self._groups.lock:
            images = self._groups.get(f"{group} {place}")
        if begin >= len(images):
            raise _changed(place)
        return _checked(place, images[begin], size)

    def _group(self, name: str) -> list[bytes]:
        group, _, place = name.partition(" ")
        with parquet_files.opened(place) as file:
            if int(group) >= file.num_row_groups:
                raise _changed(place)
            return [content or b"" for content, _ in parquet_files.images_of(file, int(group), self._column)]


class _Latest(Generic[Kept]):
    """Keeps what was asked for last.

    Args:
        most: How many are kept.
        make: Makes one from its name.
    """

    def __init__(self, most: int, make: Callable[[str], Kept]) -> None:
        self._most, self._make = most, make
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, name: str) -> Kept:
        """Return what has a name; the caller holds the lock."""
        if name not in self._kept:
            self._kept[name] = self._make(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]


def _checked(place: str, content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise _changed(place)
    return content


def _changed(place: str) -> DataError:
    return DataError(f"{place}: changed since it was indexed.", "run the same again; it indexes what changed")
