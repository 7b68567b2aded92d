"""Many files in little memory: folders once, and the names of the files in one piece. Imports no torch."""

from __future__ import annotations

import hashlib
import itertools
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray


class FileList(Sequence[Path]):
    """Files in an order, about 20 bytes each beside their names. It is read as a tuple of paths is, and each path is made when it is asked for.

    Args:
        blocks: Folders, and the names of files in each. A folder may come several times.
    """

    def __init__(self, blocks: Iterable[tuple[str | os.PathLike[str], Sequence[str]]]) -> None:
        folders: list[str] = []
        counts: list[int] = []
        lengths: list[NDArray[np.int64]] = []
        names: list[bytes] = []
        for folder, listed in blocks:
            encoded = [os.fsencode(name) for name in listed]
            folders.append(os.fspath(folder))
            counts.append(len(encoded))
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            names.append(b"".join(encoded))
        self.folders: tuple[str, ...] = tuple(folders)
        self.folder: NDArray[np.int32] = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
        self._names = b"".join(names)
        self._ends = np.cumsum(np.concatenate(lengths)) if lengths else np.zeros(0, np.int64)

    @classmethod
    def of(cls, files: Sequence[Path]) -> FileList:
        """Return a list of files that are given one by one."""
        split = (os.path.split(os.fspath(file)) for file in files)
        return cls(
            (folder, [name for _, name in listed]) for folder, listed in itertools.groupby(split, key=lambda each: each[0])
        )

    def blocks(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield each folder and the positions of its files, in the order of the files."""
        starts = np.searchsorted(self.folder, np.arange(len(self.folders) + 1))
        for folder, begin, end in zip(self.folders, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            yield folder, np.arange(begin, end)

    def __len__(self) -> int:
        return len(self.folder)

    def name(self, index: int) -> str:
        """Return the name of a file without its folder, 0 <= index < their number."""
        begin = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._names[begin : int(self._ends[index])])

    def text(self, index: int) -> str:
        """Return the path of a file as text, 0 <= index < their number."""
        return os.path.join(self.folders[self.folder[index]], self.name(index))

    def texts(self) -> Iterator[str]:
        """Yield the path of each file as text, which is several times as fast as the paths themselves."""
        begin, folders = 0, [os.path.join(folder, "") for folder in self.folders]
        for start in range(0, len(self), _BLOCK):
            ends, folder = self._ends[start : start + _BLOCK].tolist(), self.folder[start : start + _BLOCK].tolist()
            for end, number in zip(ends, folder, strict=True):
                yield folders[number] + os.fsdecode(self._names[begin:end])
                begin = end

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...

    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        if isinstance(index, slice):
            return tuple(Path(self.text(each)) for each in range(*index.indices(len(self))))
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(index)
        return Path(self.text(place))

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self.texts())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileList):
            return NotImplemented
        return self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    @cached_property
    def _digest(self) -> bytes:
        total = hashlib.sha256(repr(self.folders).encode(errors="surrogateescape"))
        for each in (self.folder.tobytes(), self._ends.tobytes(), self._names):
            total.update(hashlib.sha256(each).digest())
        return total.digest()


_BLOCK = 4096  # files whose numbers are turned into Python's at a time


def texts(files: Iterable[Path]) -> Iterator[str]:
    """Yield the path of each file as text."""
    return files.texts() if isinstance(files, FileList) else map(os.fspath, files)
