"""What the store holds: its entries on the disk, and a look at all of them that is remembered where it took long.

The rule: a look under the store's lock counts too much rather than too little. Whoever is going to write adds the bytes to a number beside
the store, under that lock, so what other processes wrote since the look is known without another. The file of a segment has the size that was
added from its beginning, so a look counts what is not written yet.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError

ROWS, INDEX, ENTRY, PART = ".rows", ".index", "entry.json", ".part"
INDEX_HEAD, INDEX_ROW = 88, 24  # bytes of an index before its rows, and of each row; the format is that of tlkit.store.segments
_SLOW = 0.2  # seconds of a processor that a look takes which is remembered; a quicker one is as well repeated
_LASTS = 60.0  # seconds that a look is remembered, or
_TIMES = 20  # as many times as long as it took
_WRITTEN = ".written.lock"  # the sum of all bytes that were reserved; the store's own lock guards it
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(r"entry\.json|[0-9a-f]{32}\.(rows|index)|\.([0-9a-f]{32}\.part|(entry\.json|[0-9a-f]{32}\.index)\.\w+)")

Stats = dict[str, os.stat_result]


class Kind(StrEnum):
    """The kinds of rows: decoded pictures, or outputs of a network's fixed prefix."""

    PICTURES = "pictures"
    FEATURES = "features"


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A whole segment.

    Attributes:
        path: Of its rows.
        bytes: Of its rows and its index.
        used: When it was last used, seconds since the epoch.
    """

    path: Path
    rows: int
    bytes: int
    used: float


@dataclass
class Usage:
    """What a look at all entries found, with what this process did since then.

    Attributes:
        folder: Of the cache.
        total: Bytes of all files but the descriptions of entries, at most.
        segments: Those that are whole, the least recently used last.
        written: The number beside the store, as it was before the look, and what this process added since then.
        until: When it is too old.
    """

    folder: Path
    total: int
    segments: list[StoredSegment]
    written: int
    until: float

    def alone(self) -> bool:
        """Return whether no other process wrote since the look."""
        return _written(self.folder) == self.written

    def most(self) -> int | None:
        """Return the bytes that the store may have by now; None where that is not known."""
        written = _written(self.folder)
        return None if written is None or written < self.written else self.total + written - self.written


_known: Usage | None = None


def look() -> Usage:
    """Look at all entries, and remember what is found where that took long."""
    return looked(map(files_of, entries()))


def looked(found: Iterable[tuple[Stats, Sequence[StoredSegment]]]) -> Usage:
    """Return what the files of all entries come to, and remember it where looking took long.

    Args:
        found: Of each entry, its files and its whole segments.
    """
    global _known
    folder, began = files.cache_folder(), time.thread_time()
    written, total, segments = _written(folder) or 0, 0, list[StoredSegment]()
    for stats, whole in found:
        total += sum(stat.st_size for name, stat in stats.items() if name != ENTRY)
        segments += whole
    took = time.thread_time() - began
    segments.sort(key=lambda each: -each.used)
    usage = Usage(folder, total, segments, written, time.monotonic() + max(_LASTS, _TIMES * took))
    _known = usage if took > _SLOW else None
    return usage


def remembered() -> Usage | None:
    """Return the last look, if it took long and is not old; None otherwise."""
    known = _known
    if known is None or time.monotonic() > known.until or known.folder != files.cache_folder():
        return None
    return known


def forget() -> None:
    """Forget the last look, in every process."""
    global _known
    _known = None
    with contextlib.suppress(OSError, TlkitError):
        (files.cache_folder() / _WRITTEN).unlink(missing_ok=True)


def add(count: int) -> Usage | None:
    """Say that so many bytes are going to be written. Call it under the store's lock.

    Returns:
        The remembered look that counts them from now on; None where there is none.
    """
    folder = files.cache_folder()
    number = _written(folder)
    known = _known if _known is not None and _known.folder == folder else None
    if number is None:  # another beginning, which tells other processes to look again
        number = secrets.randbits(60)
        if known is not None:
            known.written = number
    content = b"%020d" % (number + count)
    if known is not None:
        known.written, known.total = known.written + count, known.total + count
    path = folder / _WRITTEN
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.write(handle, content)
        finally:
            os.close(handle)
    except OSError:  # then the store cannot be written either
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return known


def counts(known: Usage | None) -> bool:
    """Return whether a look that counted bytes is still the one that is remembered."""
    return known is not None and known is remembered()


def take_back(known: Usage | None, count: int) -> None:
    """Say that so many bytes which a look counted were not written, or were counted twice."""
    if known is not None and counts(known):
        known.total -= count


def entries() -> list[Path]:
    """Return the folders of all entries."""
    found: list[Path] = []
    for kind in Kind:
        with contextlib.suppress(OSError):
            found += (path for path in (files.cache_folder() / kind).iterdir() if _DIGEST.fullmatch(path.name))
    return found


def stats_of(entry: Path) -> Stats:
    """Return the stat of each of tlkit's files in a folder, by name; another process may remove them meanwhile."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(entry) as listed:
        for each in listed:
            if _OURS.fullmatch(each.name):
                with contextlib.suppress(OSError):
                    found[each.name] = os.stat(each.path, follow_symlinks=False)  # each.stat() has no inode on Windows
    return found


def files_of(entry: Path) -> tuple[Stats, list[StoredSegment]]:
    """Return the stat of each of tlkit's files in a folder, and its whole segments."""
    stats = stats_of(entry)
    return stats, list(segments_of(entry, stats))


def segments_of(entry: Path, stats: Stats) -> Iterator[StoredSegment]:
    """Return the segments of an entry that are whole.

    Args:
        entry: Its folder.
        stats: Of its files.
    """
    for name, stat in stats.items():
        index = stats.get(f"{name.removesuffix(ROWS)}{INDEX}") if name.endswith(ROWS) else None
        if index is not None:
            rows = (index.st_size - INDEX_HEAD) // INDEX_ROW
            yield StoredSegment(entry / name, max(rows, 0), stat.st_size + index.st_size, index.st_mtime)


def _written(folder: Path) -> int | None:
    """Return the number beside the store, 0 where there is none yet; None where it is damaged."""
    try:
        return int((folder / _WRITTEN).read_bytes())
    except FileNotFoundError:
        return 0
    except (OSError, ValueError):
        return None
