"""The size of the cache folder: how much it may hold, and what is removed where that is too little.

The rule: what was used least recently goes first, and never what this process reads.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from tlkit import files
from tlkit.errors import StoreError, TlkitError
from tlkit.store import cache, usage
from tlkit.store.usage import INDEX, StoredSegment, Usage

MOST = 20_000_000_000  # bytes of rows that are kept, or
SHARE = 0.2  # of the disk that is free or already the store's, whichever is less


class Held(Protocol):
    """A reader in this process that has a file of rows open."""

    path: Path


_held: WeakSet[Held] = WeakSet()
_holding = threading.Lock()


def limit() -> int:
    """Return the largest size of the store in bytes: 20 GB, or 20 % of the free disk and the store's own bytes, whichever is less.

    $TLKIT_CACHE_BYTES, a whole number, sets another limit; 0 keeps nothing. Without a home folder nothing is kept.

    Raises:
        TlkitError: the variable is no such number.
    """
    return _limit(_usage().total) if _has_folder() else 0


def room() -> int:
    """Return how many bytes can be written after everything that may be evicted is evicted; 0 without a home folder."""
    return _room(_usage()) if _has_folder() else 0


def fits(need: int) -> bool:
    """Return whether so many bytes can be written; by a remembered look, or by another where that one knows too little to evict."""
    return need <= room() or (usage.remembered() is not None and need <= _room(usage.look()))


def make_room(need: int) -> Usage | None:
    """Evict the least recently used rows until `need` bytes fit; rows that this process reads stay. Call it under the lock.

    Returns:
        The remembered look that counts these bytes; None where there is none.

    Raises:
        StoreError: they cannot fit; then nothing is evicted.
    """
    known = usage.remembered() or usage.look()
    if not _fits(known, need) and not (known is usage.remembered() and known.alone() and _evict(known, need)):
        for entry in usage.entries():
            cache.sweep(entry)
        known = usage.look()
        if not _evict(known, need):
            raise StoreError(f"store: no room for {need:,} bytes more: at most {_limit(known.total):,} are kept.")
    return usage.add(need)


def hold(reader: Held) -> None:
    """Do not let this process evict a file while its reader is alive."""
    with _holding:
        _held.add(reader)


def _has_folder() -> bool:
    try:
        files.cache_folder()
    except TlkitError:
        return False
    return True


def _limit(total: int) -> int:
    asked = os.environ.get("TLKIT_CACHE_BYTES")
    if asked:
        if not re.fullmatch(r"[0-9]{1,18}", asked):
            raise TlkitError(f"TLKIT_CACHE_BYTES={asked}: is not a whole number of bytes.", "20000000000 is 20 GB")
        return int(asked)
    folder = files.cache_folder().absolute()
    there = next(parent for parent in (folder, *folder.parents) if os.path.isdir(parent))
    return min(MOST, int(SHARE * (shutil.disk_usage(there).free + total)))


def _usage() -> Usage:
    """Return what is in the store now, at most."""
    known = usage.remembered()
    most = None if known is None else known.most()
    return usage.look() if known is None or most is None else dataclasses.replace(known, total=most)


def _room(found: Usage) -> int:
    return _limit(found.total) - found.total + sum(each.bytes for each in _evictable(found))


def _fits(known: Usage, need: int) -> bool:
    most = known.most()
    return most is not None and most + need <= _limit(most)


def _evict(known: Usage, need: int) -> bool:
    """Evict until `need` bytes fit; return whether they do. Where they cannot, nothing is evicted.

    What was used or removed since the look is passed over: everything else of it was used before whatever came since.
    """
    over = known.total + need - _limit(known.total)
    free = _evictable(known)
    if over > sum(each.bytes for each in free):
        return False
    evictable, aside = {each.path for each in free}, list[StoredSegment]()
    while over > 0 and known.segments:
        segment = known.segments.pop()
        if segment.path not in evictable:
            aside.append(segment)
        elif _unused_since(segment):
            cache.remove(segment.path)
            cache.sweep(segment.path.parent)
            over, known.total = over - segment.bytes, known.total - segment.bytes
    known.segments.extend(reversed(aside))
    return over <= 0


def _evictable(known: Usage) -> list[StoredSegment]:
    """Return the segments that this process does not read, the least recently used last."""
    with _holding:
        held = {each.path for each in _held}
    return [each for each in known.segments if each.path not in held]


def _unused_since(segment: StoredSegment) -> bool:
    try:
        return os.stat(segment.path.with_suffix(INDEX)).st_mtime == segment.used
    except OSError:
        return False
