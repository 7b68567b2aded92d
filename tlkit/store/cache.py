"""The cache folder: list and clear its entries, limit its size, and remove what was used least recently.

The rule: files are made, named and removed under one lock, and no file is touched whose name is not one that tlkit gives.
Rows lie as <cache>/<kind>/<entry digest>/<segment>.rows with an .index beside each and one entry.json; see tlkit.store.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from tlkit import file_digests, files
from tlkit.errors import StoreError, TlkitError
from tlkit.plugin import remembered
from tlkit.record import file_lock
from tlkit.store import unfinished

MOST = 20_000_000_000  # bytes of rows that are kept, or
SHARE = 0.2  # of the disk that is free or already the store's, whichever is less
ROWS, INDEX, ENTRY, PART = ".rows", ".index", "entry.json", ".part"
INDEX_HEAD, INDEX_ROW = 88, 24  # bytes of an index before its rows, and of each row; the format is tlkit.segments'
_STRAY = 3600.0  # seconds until a file is removed of which it is not known whether its writer still lives
_PATIENCE = 60.0  # seconds until a lock that is not given up is an error; each is held for a moment
_DIGEST = re.compile(r"[0-9a-f]{64}")
INDEXES = "indexes"  # folder of the indexes of shards, which their plugin writes
_RECORD, _UNFINISHED = re.compile(r"[0-9a-f]{64}\.(json|npz)"), re.compile(r"\.[0-9a-f]{64}\.(json|npz)\.\w+")
_OURS = re.compile(r"entry\.json|[0-9a-f]{32}\.(rows|index)|\.([0-9a-f]{32}\.part|(entry\.json|[0-9a-f]{32}\.index)\.\w+)")

Scalar = str | int | float | bool | None


class Kind(StrEnum):
    """The kinds of rows: decoded pictures, or outputs of a network's fixed prefix."""

    PICTURES = "pictures"
    FEATURES = "features"


class Held(Protocol):
    """A reader in this process that has a file of rows open."""

    path: Path


@dataclass(frozen=True)
class Listed:
    """One entry of the store.

    Attributes:
        origin: What its rows were made from and how; empty where that cannot be read.
        bytes: On the disk, with what a writer has not finished.
        used: When a run last used any of it, seconds since the epoch.
    """

    kind: Kind
    origin: dict[str, Scalar]
    rows: int
    bytes: int
    used: float


@dataclass(frozen=True)
class _Segment:
    path: Path  # of the rows
    rows: int
    bytes: int  # with the index
    used: float


_held: WeakSet[Held] = WeakSet()
_holding = threading.Lock()


def limit() -> int:
    """Return the largest size of the store in bytes: 20 GB, or 20 % of the free disk and the store's own bytes, whichever is less.

    $TLKIT_CACHE_BYTES, a whole number, sets another limit; 0 keeps nothing. Without a home folder nothing is kept.

    Raises:
        TlkitError: the variable is no such number.
    """
    try:
        files.cache_folder()
    except TlkitError:
        return 0
    return _limit(_total())


def room() -> int:
    """Return how many bytes can be written after everything that may be evicted is evicted."""
    return _limit(_total()) - _total() + sum(each.bytes for each in _evictable())


def listing() -> list[Listed]:
    """Return the entries of the store, the most recently used first."""
    found = []
    for entry in _entries():
        if whole := _segments(entry):
            rows, used = sum(each.rows for each in whole), max(each.used for each in whole)
            size = sum(stat.st_size for stat in _stats(entry).values())
            found.append(Listed(Kind(entry.parent.name), _origin(entry), rows, size, used))
    return sorted(found, key=lambda each: -each.used)


def others() -> dict[str, int]:
    """Return the bytes that remembered hashes, measurements and indexes of shards take in the cache, by name."""
    sizes = {file_digests.HASHES: 0, remembered.FOLDER: 0, INDEXES: 0}
    with contextlib.suppress(OSError):
        sizes[file_digests.HASHES] = (files.cache_folder() / file_digests.HASHES).stat().st_size
    for folder in (remembered.FOLDER, INDEXES):
        sizes[folder] = sum(size for _, size in _records(folder))
    return {name: size for name, size in sizes.items() if size}


def clear(kind: Kind | None = None) -> int:
    """Remove all rows of a kind; without a kind, all rows, the remembered measurements and the indexes of shards. File hashes stay, unless damaged.

    What another process writes at this moment stays as well.

    Returns:
        The bytes freed.

    Raises:
        StoreError: the folder cannot be locked.
    """
    if not os.path.isdir(files.cache_folder()):
        return 0
    with lock():
        before = _total()
        for entry in _entries():
            if kind in (None, entry.parent.name):
                for segment in _segments(entry):
                    remove(segment.path)
                _sweep(entry)
        freed = before - _total()
        for path, size in [*_records(remembered.FOLDER), *_records(INDEXES)] if kind is None else ():
            with contextlib.suppress(OSError):
                path.unlink()
                freed += size
        if kind is None:
            freed += file_digests.drop_damaged_hashes()
            for folder in (remembered.FOLDER, INDEXES):
                with contextlib.suppress(OSError):
                    (files.cache_folder() / folder).rmdir()
    return freed


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Lock the store, so that one process at a time changes it. The lock must not be taken twice.

    Raises:
        StoreError: the lock was not free within a minute, or its file cannot be opened.
    """
    try:
        folder = files.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        stack = contextlib.ExitStack()
        stack.enter_context(file_lock.held(folder / ".lock", timeout=_PATIENCE))
    except TlkitError as error:  # no home folder
        raise StoreError(error.problem, *error.hints) from error
    except OSError as error:
        raise unwritable(error) from error
    with stack:
        yield


def make_room(need: int) -> None:
    """Evict the least recently used rows until `need` bytes fit; rows that this process reads stay. Call it under the lock.

    Raises:
        StoreError: they cannot fit; then nothing is evicted.
    """
    total = _total()
    if total + need <= _limit(
        total
    ):  # a look at every entry, which a store of many cannot afford several times for each segment
        return
    for entry in _entries():
        _sweep(entry)
    total = _total()
    over = total + need - _limit(total)
    evictable = _evictable()
    if over > sum(each.bytes for each in evictable):
        raise StoreError(f"store: no room for {need:,} bytes more: at most {_limit(total):,} are kept.")
    for segment in evictable:
        if over <= 0:
            break
        remove(segment.path)
        _sweep(segment.path.parent)
        over -= segment.bytes


def hold(reader: Held) -> None:
    """Do not let this process evict a file while its reader is alive."""
    with _holding:
        _held.add(reader)


def remove(rows: Path) -> None:
    """Remove a segment, its index first, because a file without an index is ignored. Call it under the lock."""
    for path in (rows.with_suffix(INDEX), rows):
        with contextlib.suppress(OSError):
            path.unlink()


def unwritable(error: Exception) -> StoreError:
    """Return the error for a failed write."""
    why = (error.strerror if isinstance(error, OSError) else None) or error
    hint = "name another folder with TLKIT_CACHE, or make room with `tlkit cache clear`"
    return StoreError(f"store: {files.shown(files.cache_folder())}: cannot be written: {why}.", hint)


def _limit(total: int) -> int:
    asked = os.environ.get("TLKIT_CACHE_BYTES")
    if asked:
        if not re.fullmatch(r"[0-9]{1,18}", asked):
            raise TlkitError(f"TLKIT_CACHE_BYTES={asked}: is not a whole number of bytes.", "20000000000 is 20 GB")
        return int(asked)
    folder = files.cache_folder().absolute()
    there = next(parent for parent in (folder, *folder.parents) if os.path.isdir(parent))
    return min(MOST, int(SHARE * (shutil.disk_usage(there).free + total)))


def _total() -> int:
    return sum(stat.st_size for entry in _entries() for name, stat in _stats(entry).items() if name != ENTRY)


def _evictable() -> list[_Segment]:
    """Segments that this process does not read, the least recently used first."""
    with _holding:
        held = {each.path for each in _held}
    free = (each for entry in _entries() for each in _segments(entry) if each.path not in held)
    return sorted(free, key=lambda each: each.used)


def _entries() -> list[Path]:
    found: list[Path] = []
    for kind in Kind:
        with contextlib.suppress(OSError):
            found += (path for path in (files.cache_folder() / kind).iterdir() if _DIGEST.fullmatch(path.name))
    return found


def _stats(entry: Path) -> dict[str, os.stat_result]:
    """Return the stat of each of tlkit's files in a folder, by name; another process may remove them meanwhile."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(entry) as listed:
        for each in listed:
            if _OURS.fullmatch(each.name):
                with contextlib.suppress(OSError):
                    found[each.name] = os.stat(each.path, follow_symlinks=False)  # each.stat() has no inode on Windows
    return found


def _segments(entry: Path) -> list[_Segment]:
    stats = _stats(entry)
    pairs = ((name, Path(name).with_suffix(INDEX).name) for name in stats if name.endswith(ROWS))
    found = []
    for name, index in pairs:
        if index in stats:
            rows, size = (stats[index].st_size - INDEX_HEAD) // INDEX_ROW, stats[name].st_size + stats[index].st_size
            found.append(_Segment(entry / name, max(rows, 0), size, stats[index].st_mtime))
    return found


def remove_abandoned() -> None:
    """Remove what processes that were killed left of rows; a store that cannot be changed stays as it is."""
    if os.path.isdir(files.cache_folder()):
        with contextlib.suppress(StoreError), lock():
            for entry in _entries():
                _sweep(entry)


def _sweep(entry: Path) -> None:
    """Remove the files of writers that never finished, and the folder if it is empty then.

    Call it under the lock: all files but those of rows are written under it, so one that is unfinished has no writer any more.
    """
    stats, whole = _stats(entry), {each.path.stem for each in _segments(entry)}
    strays = {name for name in stats if name != ENTRY and Path(name).stem not in whole}
    for name in strays:
        old = time.time() - stats[name].st_mtime > _STRAY
        if old or not name.endswith(PART) or unfinished.abandoned(entry / name):
            with contextlib.suppress(OSError):
                (entry / name).unlink()
    if set(_stats(entry)) <= {ENTRY}:
        with contextlib.suppress(OSError):
            (entry / ENTRY).unlink(missing_ok=True)
            entry.rmdir()
            entry.parent.rmdir()


def _origin(entry: Path) -> dict[str, Scalar]:
    try:
        origin = json.loads((entry / ENTRY).read_bytes())["origin"]
        return {str(name): value for name, value in origin.items() if isinstance(value, Scalar)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _records(folder: str) -> list[tuple[Path, int]]:
    """Files of measurements, or of indexes, and their sizes, unfinished ones included."""
    found = []
    with contextlib.suppress(OSError), os.scandir(files.cache_folder() / folder) as listed:
        for each in sorted(listed, key=lambda each: each.name):
            with contextlib.suppress(OSError):
                stat = os.stat(each.path, follow_symlinks=False)
                left = _UNFINISHED.fullmatch(each.name) and time.time() - stat.st_mtime > _STRAY
                if each.is_file(follow_symlinks=False) and (left or _RECORD.fullmatch(each.name)):
                    found.append((Path(each.path), stat.st_size))
    return found
