"""Read stored rows: decoded pictures and outputs of fixed prefixes, one array of one shape per image.

The rule: the store costs no run. What is missing, damaged or evicted is computed again; what cannot be written is a StoreError,
and the run goes on without it.

A row's key is the first 16 bytes of a sha256 of what determines it (for a picture, its file's content; see `file_digests.digests`),
within an entry whose digest is of everything else that does. Rows lie in the cache folder ($TLKIT_CACHE, else
~/.cache/tlkit/store), at most 20 GB or 20 % of the free disk, whichever is less; $TLKIT_CACHE_BYTES sets another limit.

    <cache>/<kind>/<entry digest>/entry.json       what the digest is of, for people
    <cache>/<kind>/<entry digest>/<segment>.rows   rows, C order, at most 256 MB; never changed once it is there
    <cache>/<kind>/<entry digest>/<segment>.index  their keys and checksums, see tlkit.segments
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.errors import StoreError, TlkitError
from tlkit.store import cache, cache_limit, segments, usage
from tlkit.store.cache import Scalar
from tlkit.store.row_writer import Place, Writer
from tlkit.store.segments import Keys, Located, Rows, Segment
from tlkit.store.usage import Kind

_NAME = np.dtype(
    f"S{segments.KEY}"
)  # keys as numpy sorts them: two that differ in zeros at the end do not occur, all are 16 bytes


def open_(
    kind: Kind,
    origin: Mapping[str, Scalar],
    *,
    shape: tuple[int, ...],
    dtype: str,
    note: Callable[[str], None],
    verify: bool = False,
) -> Entry:
    """Open the stored rows of one kind, origin, shape and dtype. Only damaged rows are changed.

    Args:
        kind: What the rows are.
        origin: Everything beside a row's key that determines it, with versions.
        shape: Of one row, at least one number.
        dtype: Of numpy, such as "uint8", "float32", or "uint16" for the bits of a bfloat16.
        note: Called with a message if something is damaged.
        verify: Check each row that is used, whatever its file's times say.

    Raises:
        ValueError: the shape holds no number, or a fact is no JSON scalar.
    """
    if 0 in shape:
        raise ValueError(f"rows of shape {shape} hold nothing")
    if wrong := [name for name, value in origin.items() if not isinstance(value, Scalar)]:
        raise ValueError(f"origin: {wrong} are not text, numbers, true, false or null")
    type_ = np.dtype(dtype)
    described = {"format": 1, "kind": str(kind), "origin": dict(origin), "shape": list(shape), "dtype": type_.name}
    content = json.dumps(described | {"order": sys.byteorder}, sort_keys=True, indent=2, allow_nan=False) + "\n"
    digest = hashlib.sha256(content.encode()).hexdigest()
    try:
        folder = files.cache_folder() / kind / digest
    except TlkitError:  # no home folder
        folder = None
    return Entry(Place(folder, digest, content, shape, type_), note=note, verify=verify)


class Entry:
    """Rows of one kind and one origin. One thread at a time may use it; any number may gather located rows."""

    def __init__(self, place: Place, *, note: Callable[[str], None], verify: bool) -> None:
        self._place, self._note, self._verify = place, note, verify
        self._segments: list[Segment] = []
        self._ready: set[Path] = set()  # mapped, and checked or trusted
        self._sorted: _Sorted | None = None
        self._read()

    @property
    def digest(self) -> str:
        """A digest of what the rows were made from and how."""
        return self._place.digest

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Return which rows (N,) are missing or damaged; the others stay readable while the entry is alive."""
        return self._find(keys)[0] < 0

    def locate(self, keys: Keys) -> Located:
        """Find rows once, to gather them many times.

        Raises:
            KeyError: some are missing.
        """
        segment, position = self._find(keys)
        if (absent := int((segment < 0).sum())) > 0:
            raise KeyError(f"{absent} of {len(keys)} rows are missing")
        used, segment = np.unique(segment, return_inverse=True)
        chosen = tuple(self._segments[number] for number in used)
        return Located(chosen, segment.astype(np.int32), position, self._place.shape, self._place.dtype)

    def gather(self, keys: Keys) -> Rows:
        """Return copies of rows (N, *shape).

        Raises:
            KeyError: some are missing.
        """
        return self.locate(keys).gather(np.arange(len(keys)))

    def fits(self, count: int) -> bool:
        """Return whether so many more rows fit if everything that this process does not read is evicted.

        Raises:
            TlkitError: $TLKIT_CACHE_BYTES is no number.
        """
        return self._place.folder is not None and cache_limit.fits(self._place.size(count))

    def writer(self, count: int) -> Writer:
        """Return a context manager that stores rows in blocks; at its end, also after an error, written rows are readable.

        Args:
            count: Rows that will come.

        Raises:
            StoreError: they do not fit, or there is no cache folder; nothing was written or evicted. Its `write` raises it too,
                when the disk is full or cannot be written; what was whole before is kept.
        """
        if self._place.folder is None:
            raise StoreError("store: there is no cache folder.", "set HOME, or TLKIT_CACHE")
        if not self.fits(count):
            size, most, room = self._place.size(count), cache_limit.limit(), cache_limit.room()
            raise StoreError(
                f"store: {count:,} rows of {size:,} bytes in all do not fit: at most {most:,} are kept, and {max(room, 0):,} of "
                "them can be freed beside what this run reads.",
                ""
                if os.environ.get("TLKIT_CACHE_BYTES") or most == cache_limit.MOST
                else f"{files.shown(files.cache_folder())} takes a fifth of its free disk at most: name another folder with TLKIT_CACHE",
            )
        return Writer(self._place, count, self._adopt)

    def append(self, keys: Keys, blocks: Iterable[Rows]) -> None:
        """Store rows that come in blocks (n, *shape), in the order of their keys (N, 16).

        Raises:
            StoreError: as `writer` does.
            ValueError: there are more or fewer rows than keys, or they have another shape or dtype.
        """
        with self.writer(len(keys)) as writer:
            done = 0
            for block in blocks:
                writer.write(keys[done : done + len(block)], block)
                done += len(block)
        if done != len(keys):
            raise ValueError(f"{len(keys)} keys, but {done} rows")

    def _read(self) -> None:
        """Read the indexes of all segments."""
        folder = self._place.folder
        if folder is None:
            return
        for name in self._names(folder):
            if name.startswith(".") or not name.endswith(usage.INDEX):
                continue
            rows = (folder / name).with_suffix(usage.ROWS)
            try:
                self._segments.append(segments.read(rows, entry=self._place.digest))
            except segments.OtherVersion:  # it stays for that one
                self._note(f"store: {self._shown(rows)} is of another version of tlkit: its rows are computed again")
            except ValueError:
                self._note(f"store: the index of {self._shown(rows)} is damaged: its rows are computed again")
                self._change(partial(cache.remove, rows))
            except FileNotFoundError:
                pass  # evicted since
            except OSError as error:
                self._note(f"store: {self._shown(rows)} cannot be read: {error.strerror or error}: it is computed again")
        if os.path.exists(folder / usage.ENTRY) and not self._place.described():
            self._note(f"store: {self._shown(folder / usage.ENTRY)} is damaged: it is written again")
            self._change(self._place.describe)

    def _names(self, folder: Path) -> list[str]:
        """Return the names in the entry's folder; none if it cannot be read."""
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._note(f"store: {files.shown(folder)} cannot be read: {error.strerror or error}: its rows are computed again")
            return []

    def _find(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the segment (N,), -1 for none, and the position (N,) of each row that is trusted."""
        if keys.ndim != 2 or keys.shape[1] != segments.KEY or keys.dtype != np.uint8:
            raise ValueError(f"keys are (N, {segments.KEY}) uint8, not {keys.shape} {keys.dtype}")
        names = np.ascontiguousarray(keys).view(_NAME).reshape(-1)
        while True:
            self._sorted = self._sorted or _sort(self._segments)
            segment, position = self._sorted.find(names)
            new = [
                each
                for each in map(self._segments.__getitem__, np.unique(segment[segment >= 0]))
                if each.path not in self._ready
            ]
            if not new:
                return segment, position
            for each in new:
                self._prepare(each)

    def _prepare(self, segment: Segment) -> None:
        """Map a segment into memory at its first use, and leave out damaged rows."""
        cache_limit.hold(segment)
        try:
            now = segments.map_(segment, shape=self._place.shape, dtype=self._place.dtype)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # else evicted since
                self._note(
                    f"store: {self._shown(segment.path)} cannot be read: {error.strerror or error}: it is computed again"
                )
            self._drop(segment)
            return
        self._ready.add(segment.path)
        with contextlib.suppress(OSError):
            os.utime(segment.path.with_suffix(usage.INDEX))
        if not self._verify and segments.trusted(segment, now):
            return
        good = segments.good(segment)
        segment.state = now
        if not good.all():
            of = f"{len(good) - int(good.sum())} of {len(good)} rows of {self._shown(segment.path)}"
            self._note(f"store: {of} are damaged and are computed again")
            segment.records, self._sorted = segment.records[good], None
        if len(segment.records):
            self._change(partial(segments.rewrite_index, segment, entry=self._place.digest))
        else:
            self._drop(segment)
            self._change(partial(cache.remove, segment.path))

    def _adopt(self, segment: Segment) -> None:
        self._segments.append(segment)
        self._ready.add(segment.path)
        self._sorted = None

    def _drop(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self._sorted = None

    def _change(self, action: Callable[[], None]) -> None:
        """Change files in the store; if that fails, the next reader tries again."""
        with contextlib.suppress(StoreError, OSError), cache.lock():
            action()

    def _shown(self, path: Path) -> str:
        return f"{path.parent.parent.name}/{path.parent.name[:8]}/{path.name}"


@dataclass(frozen=True, eq=False)
class _Sorted:
    """All keys of an entry (N,), sorted, each with its segment and its position there."""

    names: NDArray[np.bytes_]
    segment: NDArray[np.int64]
    position: NDArray[np.int64]

    def find(self, names: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not len(self.names):
            return np.full(len(names), -1), np.zeros(len(names), np.int64)
        at = np.minimum(np.searchsorted(self.names, names), len(self.names) - 1)
        return np.where(self.names[at] == names, self.segment[at], -1), self.position[at]


def _sort(found: list[Segment]) -> _Sorted:
    """Sort the keys of all segments; a key in two segments is found in the earlier one."""
    records = [each.records for each in found]
    names = [np.ascontiguousarray(each["key"]).view(_NAME).reshape(-1) for each in records]
    joined = np.concatenate([np.empty(0, _NAME), *names])
    order = np.argsort(joined, kind="stable")
    segment = np.repeat(np.arange(len(found)), [len(each) for each in records])
    position = np.concatenate([np.empty(0, np.int64), *(each["position"].astype(np.int64) for each in records)])
    return _Sorted(joined[order], segment[order], position[order])
