"""The index of one file of images: name, label, place and digest of each; made once, and kept in tlkit's cache.

The rule: an index is used only for the file that it was made of, by size and time on a disk, by size and ETag behind an address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, writable
from tlkit.plugin import cache_folder, replacing
from tlkit_shards import places
from tlkit_shards.places import State

FOLDER = "indexes"  # below tlkit's cache folder
BESIDE = ".index.npz"  # after a shard's name: the index that `tlkit shard` writes
_FORMAT = 1
# numpy reads headers by ast.literal_eval, whose depth Python 3.11 counts for all threads together: two at once can be a SystemError.
_PARSING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of the images of one file, in the order in which they lie in it.

    Attributes:
        place: The file.
        state: Of the file when it was indexed.
        names: (N,) bytes, what each image is called in it.
        labels: (N,) bytes, the text or the number of its class.
        group: (N,) row group of a parquet file; 0 in a tar archive.
        begin: (N,) first byte of its content in a tar archive; row in its row group of a parquet file.
        size: (N,) bytes of its content.
        digest: (N, 32) uint8, the sha256 of its content.
        classes: Names of the classes where the file has them.
    """

    place: str
    state: State
    names: NDArray[np.bytes_]
    labels: NDArray[np.bytes_]
    group: NDArray[np.int32]
    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    digest: NDArray[np.uint8]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Found:
    """One image, as reading a file finds it.

    Attributes:
        name: What it is called.
        label: The text or the number of its class.
        begin: As in `Index`.
        content: Its bytes.
        group: As in `Index`.
    """

    name: str
    label: str
    begin: int
    content: bytes
    group: int = 0


def made(place: str, state: State, images: Iterable[Found], classes: Sequence[str] = ()) -> Index:
    """Return the index of a file from its images.

    Raises:
        DataError: it has none.
    """
    names, labels, numbers, digests = [], [], [], []
    for each in images:
        names.append(each.name.encode())
        labels.append(each.label.encode())
        numbers.append((each.group, each.begin, len(each.content)))
        digests.append(hashlib.sha256(each.content).digest())
    if not names:
        raise DataError(f"{place}: holds no images.")
    group, begin, size = np.array(numbers, np.int64).T
    digest = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return Index(
        place,
        state,
        np.array(names),
        np.array(labels),
        group.astype(np.int32),
        begin.copy(),
        size.copy(),
        digest,
        tuple(classes),
    )


def of_file(place: str, reading: str, make: Callable[[str, State], Index]) -> tuple[Path, Index]:
    """Return the index of a file and where it is kept; it is made where it is missing, or the file has changed.

    Args:
        place: The file.
        reading: What the images and their labels are called in it, in words that tell one way of reading from another.
        make: Reads the file.

    Raises:
        DataError: the file or the index cannot be read, or is another than `tlkit shard` wrote.
    """
    now = places.state(place)
    kept = cache_folder() / FOLDER / f"{_name(place, reading)}.npz"
    known = _read(kept, place)
    if known is not None and known.state == now:
        return kept, known
    index = beside(place, now) if reading == "" else None
    if index is None:
        index = make(place, now)
    elif known is not None or is_newer_than_its_index(place):
        problem = _difference(index, make(place, now))
        if problem is not None:
            raise problem
    if places.state(place) != now:
        raise DataError(f"{place}: changed while it was indexed.", "run the same again when nothing writes it")
    with writable(kept.parent, "TLKIT_CACHE names another folder", kind=DataError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write(kept, index)
    return kept, index


def _name(place: str, reading: str) -> str:
    return hashlib.sha256(f"{_FORMAT}\0{place}\0{reading}".encode()).hexdigest()


def load(path: Path) -> Index:
    """Return the index in a file of the cache.

    Raises:
        DataError: it is gone or damaged.
    """
    index = _read(path, "")
    if index is None:
        raise DataError(f"{path}: the index is gone or damaged.", "run the same again; it makes a new one")
    return index


def write(path: Path, index: Index) -> None:
    """Write an index; a reader sees the old or the new one.

    Raises:
        OSError: it cannot be written.
    """
    about = {
        "format": _FORMAT, "place": index.place, "classes": list(index.classes),
        "size": index.state.size, "version": index.state.version, "seekable": index.state.seekable,
    }  # fmt: skip
    with replacing(path) as file:
        np.savez(
            file, allow_pickle=False, about=np.array(json.dumps(about)), names=index.names, labels=index.labels, group=index.group,
            begin=index.begin, size=index.size, digest=index.digest,
        )  # fmt: skip


def _read(path: Path | IO[bytes], place: str) -> Index | None:
    """Return the index in a file; None where there is none, or it is damaged or of another format."""
    try:
        with _PARSING, np.load(path, allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(str(arrays["about"]))
            if about["format"] != _FORMAT:
                return None
            columns = {name: arrays[name] for name in ("names", "labels", "group", "begin", "size", "digest")}
            state = State(about["size"], about["version"], about["seekable"])
            return Index(place or about["place"], state, **columns, classes=tuple(about["classes"]))
    except (OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, zipfile.BadZipFile):
        return None


def beside(place: str, now: State) -> Index | None:
    """Return the index that `tlkit shard` wrote beside a shard, if its size is the same; None where there is none.

    Raises:
        DataError: the shard is another than was indexed.
    """
    import io

    content = None
    with contextlib.suppress(DataError):
        content = places.whole(f"{place}{BESIDE}")
    index = None if content is None else _read(io.BytesIO(content), place)
    if index is None:
        return None
    if index.state.size != now.size >= 0:
        raise DataError(
            f"{place}: changed since it was indexed: it has {now.size:,} bytes, and had {index.state.size:,}.",
            _hint(place),
        )
    return replace(index, state=now)


def changed(place: str, name: str) -> DataError:
    """Return that the content of an image is another than the index beside its shard says."""
    return DataError(f"{place}/{name}: changed since it was indexed.", _hint(place))


def check(kept: Path, make: Callable[[str, State], Index]) -> DataError | None:
    """Read the file of an index again, and return what is wrong where it holds something else; the index is removed then."""
    known = load(kept)
    problem = _difference(known, make(known.place, known.state))
    if problem is None:
        return None
    kept.unlink(missing_ok=True)
    if beside(known.place, known.state) is not None:
        return problem
    return DataError(problem.problem, "its size and time are the same; the same command again indexes it as it is")


def digest(images: Iterable[tuple[str, bytes]]) -> str:
    """Return a digest of the images of a file, each its name and the sha256 of its content, in the order in which they lie."""
    total = hashlib.sha256()
    for name, content in images:
        total.update(hashlib.sha256(name.encode()).digest() + content)
    return total.hexdigest()


def _hint(place: str) -> str:
    return f"copy the shard again, or remove {place}{BESIDE} to have it indexed as it is"


def is_newer_than_its_index(place: str) -> bool:
    """Return whether a shard on a disk was written after the index beside it."""
    if places.is_address(place):
        return False
    with contextlib.suppress(OSError):
        return os.stat(place).st_mtime_ns > os.stat(f"{place}{BESIDE}").st_mtime_ns
    return True


def _difference(written: Index, now: Index) -> DataError | None:
    """Return what is wrong where a shard holds other images or labels than its index says; None where nothing is."""
    if written.names.tolist() != now.names.tolist():
        return DataError(f"{now.place}: changed since it was indexed: it holds other images.", _hint(now.place))
    differ = (written.digest != now.digest).any(axis=1) | (written.labels != now.labels)
    return changed(now.place, now.names[np.flatnonzero(differ)[0]].decode()) if differ.any() else None
