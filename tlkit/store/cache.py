"""The cache folder: list and clear its entries, and remove what killed processes left; `cache_limit` keeps its size.

The rule: files are made, named and removed under one lock, and no file is touched whose name is not one that tlkit gives.
Rows lie as <cache>/<kind>/<entry digest>/<segment>.rows with an .index beside each and one entry.json; see tlkit.store.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit import file_digests, files
from tlkit.errors import StoreError, TlkitError
from tlkit.plugin import remembered
from tlkit.record import file_lock
from tlkit.store import unfinished, usage
from tlkit.store.usage import ENTRY, INDEX, PART, Kind, Stats, StoredSegment

_STRAY = 3600.0  # seconds until a file is removed of which it is not known whether its writer still lives
_PATIENCE = 60.0  # seconds until a lock that is not given up is an error; each is held for a moment
INDEXES = "indexes"  # folder of the indexes of shards, which their plugin writes
_RECORD, _UNFINISHED = re.compile(r"[0-9a-f]{64}\.(json|npz)"), re.compile(r"\.[0-9a-f]{64}\.(json|npz)\.\w+")

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of the store.

    Attributes:
        path: Its folder.
        bytes: On the disk, with what a writer has not finished.
        used: When a run last used any of it, seconds since the epoch.
    """

    path: Path
    rows: int
    bytes: int
    used: float

    @property
    def kind(self) -> Kind:
        """The kind of its rows."""
        return Kind(self.path.parent.name)

    @property
    def origin(self) -> dict[str, Scalar]:
        """What its rows were made from and how, read from the disk; empty where that cannot be read."""
        return _origin(self.path)


def listing() -> list[Listed]:
    """Return the entries of the store, the most recently used first."""
    found = []

    def seen() -> Iterator[tuple[Stats, list[StoredSegment]]]:
        for entry in usage.entries():
            stats, whole = usage.files_of(entry)
            if whole:
                rows, used = sum(each.rows for each in whole), max(each.used for each in whole)
                found.append(Listed(entry, rows, sum(stat.st_size for stat in stats.values()), used))
            yield stats, whole

    usage.looked(seen())
    return sorted(found, key=lambda each: -each.used)


def others() -> dict[str, int]:
    """Return the bytes that remembered hashes, measurements and indexes of shards take in the cache, by name."""
    sizes = {file_digests.HASHES: 0}
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
        usage.forget()
        before = usage.look().total
        for entry in usage.entries():
            if kind in (None, entry.parent.name):
                for segment in usage.segments_of(entry, usage.stats_of(entry)):
                    remove(segment.path)
                sweep(entry)
        freed = before - usage.look().total
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


def remove(rows: Path) -> None:
    """Remove a segment, its index first, because a file without an index is ignored. Call it under the lock."""
    for path in (rows.with_suffix(INDEX), rows):
        with contextlib.suppress(OSError):
            path.unlink()


def sweep(entry: Path) -> None:
    """Remove the files of writers that never finished, and the folder if it is empty then.

    Call it under the lock: all files but those of rows are written under it, so one that is unfinished has no writer any more.
    """
    stats, whole = usage.files_of(entry)
    there = set(stats)
    for name in _strays(stats, whole):
        old = time.time() - stats[name].st_mtime > _STRAY
        if old or not name.endswith(PART) or unfinished.abandoned(entry / name):
            with contextlib.suppress(OSError):
                (entry / name).unlink()
                there.discard(name)
    if there <= {ENTRY}:
        with contextlib.suppress(OSError):
            (entry / ENTRY).unlink(missing_ok=True)
            entry.rmdir()
            entry.parent.rmdir()


def remove_abandoned() -> None:
    """Remove what processes that were killed left of rows; a store that cannot be changed stays as it is."""
    left: list[Path] = []

    def seen() -> Iterator[tuple[Stats, list[StoredSegment]]]:
        for entry in usage.entries():
            stats, whole = usage.files_of(entry)
            if _strays(stats, whole) or stats.keys() <= {ENTRY}:
                left.append(entry)
            yield stats, whole

    with contextlib.suppress(TlkitError):
        usage.looked(seen())
    if left:
        with contextlib.suppress(StoreError), lock():
            for entry in left:
                sweep(entry)


def unwritable(error: Exception) -> StoreError:
    """Return the error for a failed write."""
    why = (error.strerror if isinstance(error, OSError) else None) or error
    refused = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    hint = f"name another folder with TLKIT_CACHE, or {'make this one writable' if refused else 'make room with `tlkit cache clear`'}"
    return StoreError(f"store: {files.shown(files.cache_folder())}: cannot be written: {why}.", hint)


def _strays(stats: Stats, whole: Sequence[StoredSegment]) -> list[str]:
    """Return the names of files that belong to no whole segment."""
    if len(stats) == 2 * len(whole) + (ENTRY in stats):  # each has two files
        return []
    stems = {each.path.stem for each in whole}
    return [name for name in stats if name != ENTRY and Path(name).stem not in stems]


def _origin(entry: Path) -> dict[str, Scalar]:
    try:
        origin = json.loads((entry / ENTRY).read_bytes())["origin"]
        return {sys.intern(name): _shared(value) for name, value in origin.items() if isinstance(value, Scalar)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _shared(value: Scalar) -> Scalar:
    """Return a value, once in memory however many entries have it."""
    return sys.intern(value) if isinstance(value, str) else value


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
