"""Image files, and images that lie inside larger files: a tar archive, a table. Imports no torch.

The rule: a member is read by its position, and its content must have the digest that it had when it was indexed.
"""

from __future__ import annotations

import io
import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from tlkit import file_digests
from tlkit.errors import DataError, ImageError

_BLOCK = 16_384  # images whose paths are in memory at a time


@dataclass(frozen=True, slots=True)
class Member:
    """An image inside a larger file.

    Attributes:
        name: What messages and a run's files call it, "images/000000.tar/000012.jpg".
        size: Bytes.
        digest: The sha256 of its content, 32 bytes.
        read: Returns its content, and raises DataError where it cannot be read.
    """

    name: str
    size: int
    digest: bytes
    read: Callable[[], bytes]

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises:
            ImageError: it cannot be read, or it is another than was indexed.
        """
        try:
            content = self.read()
        except DataError as error:
            raise ImageError(error.problem, *error.hints) from error
        if sha256(content).digest() != self.digest:
            raise ImageError(f"{self.name}: changed since it was indexed.", "run the same again; it indexes what changed")
        return content

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return its content as an open file. The argument is that of `pathlib.Path.open`, and only "rb" is possible.

        Raises:
            ImageError: as `read_bytes`.
        """
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return self.name

    def __fspath__(self) -> str:
        return self.name


ImageFile = Path | Member


@dataclass(frozen=True, eq=False)
class Storage:
    """Where images lie in the larger files that hold them, to read them in an order that is fast.

    Attributes:
        files: The files.
        file: (N,) which of them holds each image.
        place: (N,) position of each image when all files are read from beginning to end.
        buffer: Images that an epoch shuffles at a time, one shuffled file after the other; None where it shuffles all.
    """

    files: tuple[str, ...]
    file: NDArray[np.int32]
    place: NDArray[np.int64]
    buffer: int | None = None

    def sequence(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return images in the order in which they lie."""
        return indices[np.argsort(self.place[indices], kind="stable")]

    def shuffled(self, indices: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return images in a random order that reads one file after the other.

        The files come in a random order. The images of all of them, in this order, are cut into blocks of `buffer` images, and each
        block is shuffled. So the images that a reader has to hold are those of the files in which one block lies.

        Args:
            indices: The images, ascending.
            random: Decides the order.
        """
        if self.buffer is None:
            return random.permutation(indices)
        files, member = np.unique(self.file[indices], return_inverse=True)
        rank = random.permutation(len(files))[member]
        laid = indices[np.lexsort((self.place[indices], rank))]
        block = np.arange(len(laid)) // self.buffer
        return laid[np.lexsort((random.random(len(laid)), block))]


def digests(images: Iterable[ImageFile], *, again: bool = False) -> Iterator[bytes]:
    """Yield the sha256 of each image's content, 32 bytes; that of a member is the one of its index.

    Args:
        images: Files and members, in any order.
        again: Read every file, whatever is remembered of it.

    Raises:
        DataError: a file cannot be read.
    """
    for block in _blocks(images):
        of_files = iter(file_digests.digests([each for each in block if isinstance(each, Path)], again=again))
        for each in block:
            yield next(of_files) if isinstance(each, Path) else each.digest


def known_digests(images: Iterable[ImageFile]) -> Iterator[bytes | None]:
    """Yield `digests` without reading a file; None for a file whose digest is not remembered."""
    for block in _blocks(images):
        of_files = iter(file_digests.known_digests([each for each in block if isinstance(each, Path)]))
        for each in block:
            yield next(of_files) if isinstance(each, Path) else each.digest


def _blocks(images: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    remaining = iter(images)
    while block := list(itertools.islice(remaining, _BLOCK)):
        yield block


def sizes(images: Sequence[ImageFile]) -> NDArray[np.int64]:
    """Return the size (n,) of each image's content, bytes.

    Raises:
        DataError: a file cannot be read.
    """
    found = np.zeros(len(images), np.int64)
    for index, each in enumerate(images):
        try:
            found[index] = each.stat().st_size if isinstance(each, Path) else each.size
        except OSError as error:
            raise DataError(f"{each}: cannot be read: {error.strerror or error}.") from error
    return found


class ImageFiles(Sequence[ImageFile], ABC):
    """Images of a split that are made when they are asked for, so that a million of them take no memory of their own."""

    @abstractmethod
    def one(self, index: int) -> ImageFile:
        """Return an image, 0 <= index < their number."""

    @overload
    def __getitem__(self, index: int) -> ImageFile: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageFile]: ...

    def __getitem__(self, index: int | slice) -> ImageFile | list[ImageFile]:
        if isinstance(index, slice):
            return [self.one(each) for each in range(*index.indices(len(self)))]
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self.one(place)


class Joined(ImageFiles):
    """The images of several splits, one after the other.

    Args:
        parts: The images of each.
    """

    def __init__(self, parts: Sequence[Sequence[ImageFile]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def one(self, index: int) -> ImageFile:
        """Return an image, 0 <= index < their number."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - int(self._ends[part]) + len(self._parts[part])]


def joined(storages: Sequence[Storage | None]) -> Storage | None:
    """Return where the images of several splits lie, one split after the other; None where that is not known of all."""
    known = [each for each in storages if each is not None]
    if len(known) < len(storages) or not known:
        return None
    names, numbers, places, images = list[str](), [], [], 0
    for each in known:
        numbers.append(each.file + np.int32(len(names)))
        places.append(each.place + images)
        names += each.files
        images = int(places[-1].max(initial=-1)) + 1
    return Storage(tuple(names), np.concatenate(numbers), np.concatenate(places), known[0].buffer)


class Subset(ImageFiles):
    """Some of a split's images.

    Args:
        files: The split's.
        indices: Positions of those that are meant.
    """

    def __init__(self, files: Sequence[ImageFile], indices: NDArray[np.int64]) -> None:
        self.whole, self._indices = files, indices

    def __len__(self) -> int:
        return len(self._indices) if len(self.whole) else 0

    def one(self, index: int) -> ImageFile:
        """Return an image, 0 <= index < their number."""
        return self.whole[int(self._indices[index])]
