"""Write rows: into a temporary file, flushed to the disk and renamed, and the index last.

The rule: at any moment, whatever ends the process, what has its name is whole.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.errors import StoreError
from tlkit.store import cache, cache_limit, segments, unfinished, usage
from tlkit.store.segments import Keys, Rows, Segment

# A segment is cut here, so that a fill that is killed loses little.
SEGMENT_BYTES = 256_000_000
SEGMENT_ROWS = 1 << 20
SEGMENT_SECONDS = 120.0  # since its first row


@dataclass(frozen=True)
class Place:
    """Folder, shape and dtype of the rows of one entry.

    Attributes:
        folder: Of the entry; None where there is no cache folder.
        digest: Of `content`.
        content: Of entry.json.
    """

    folder: Path | None
    digest: str
    content: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def per_segment(self) -> int:
        """Rows of a full segment."""
        return max(1, min(SEGMENT_ROWS, SEGMENT_BYTES // self.row_bytes))

    def size(self, count: int) -> int:
        """Return the bytes on disk of so many rows with their indexes, in full segments."""
        return count * (self.row_bytes + usage.INDEX_ROW) + -(-count // self.per_segment) * usage.INDEX_HEAD

    def described(self) -> bool:
        """Return whether entry.json exists and is correct."""
        if self.folder is None:
            return False
        try:
            return (self.folder / usage.ENTRY).read_bytes() == self.content.encode()
        except OSError:
            return False

    def describe(self) -> None:
        """Write entry.json if it does not exist.

        Raises:
            OSError: it cannot be written.
        """
        if self.folder is not None and not self.described():
            files.replace(self.folder / usage.ENTRY, self.content)


@dataclass(eq=False)
class _Part:
    """A segment that is being written."""

    path: Path
    rows: Path  # where it will lie
    file: io.FileIO
    records: NDArray[np.void]  # room for a full segment's
    reserved: int  # bytes, its index included, which
    counted: usage.Usage | None  # counts
    count: int = 0  # rows that are whole
    begun: float = field(default_factory=time.monotonic)


class Writer:
    """A context manager that stores rows in blocks; see `Entry.writer`."""

    def __init__(self, place: Place, count: int, adopt: Callable[[Segment], None]) -> None:
        self._place, self._coming, self._adopt = place, count, adopt
        self._part: _Part | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.nullcontext() if error is None else contextlib.suppress(StoreError):
            self._finish()

    def write(self, keys: Keys, rows: Rows) -> None:
        """Store rows (n, *shape) of the entry's dtype under their keys (n, 16).

        Raises:
            StoreError: they cannot be written; those since the last whole segment are lost too, and no file is left of them.
            ValueError: they are not what the entry holds.
        """
        place = self._place
        if rows.shape != (len(keys), *place.shape) or rows.dtype != place.dtype or keys.shape != (len(keys), segments.KEY):
            raise ValueError(
                f"rows {rows.shape} {rows.dtype}, keys {keys.shape}: not {place.shape} {place.dtype} and a key each"
            )
        start, rows = 0, np.ascontiguousarray(rows)
        while start < len(rows):
            self._part = part = self._part or self._begin(max(self._coming, len(rows) - start))
            stop = min(len(rows), start + place.per_segment - part.count)
            self._put(part, keys[start:stop], rows[start:stop])
            self._coming -= stop - start
            start = stop
            if part.count == place.per_segment or time.monotonic() - part.begun > SEGMENT_SECONDS:
                self._finish()

    def _begin(self, coming: int) -> _Part:
        """Make room for a segment, and create its file."""
        folder, name = self._place.folder, secrets.token_hex(16)
        assert folder is not None  # else `Entry.writer` refuses
        with cache.lock():
            reserved = self._place.size(min(coming, self._place.per_segment))
            counted = cache_limit.make_room(reserved)
            path = folder / f".{name}{usage.PART}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = path.open("xb", buffering=0)
                unfinished.hold(file)
            except OSError as error:
                raise cache.unwritable(error) from error
            records = np.zeros(self._place.per_segment, segments.RECORD)
            part = _Part(path, folder / f"{name}{usage.ROWS}", file, records, reserved, counted)
            try:
                file.truncate(reserved)  # with holes: a look at the store counts what is not written yet
            except OSError as error:
                _discard(part)
                raise cache.unwritable(error) from error
        return part

    def _put(self, part: _Part, keys: Keys, rows: Rows) -> None:
        """Add rows to a segment; rows that an interruption left incomplete are cut off at its end."""
        left, stop = rows.reshape(-1).view(np.uint8).data, part.count + len(rows)
        try:
            part.file.seek(part.count * self._place.row_bytes)
            while left:
                left = left[part.file.write(left) :]
        except OSError as error:
            self._part = None
            _discard(part)
            raise cache.unwritable(error) from error
        new = part.records[part.count : stop]
        new["key"], new["crc"] = keys, [zlib.crc32(row) for row in rows]
        new["position"] = np.arange(part.count, stop)
        part.count = stop

    def _finish(self) -> None:
        """Write the index, rename the segment, and add it to the entry."""
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if part.count:
                self._adopt(self._commit(part))
        except (OSError, NotImplementedError) as error:
            raise cache.unwritable(error) from error
        finally:
            _discard(part)

    def _commit(self, part: _Part) -> Segment:
        place = self._place
        part.file.truncate(part.count * place.row_bytes)
        os.fsync(part.file.fileno())
        segment = Segment(part.rows, part.records[: part.count].copy(), np.zeros(5, np.uint64))
        cache_limit.hold(segment)
        with cache.lock():
            if not usage.counts(part.counted):  # else it is reserved
                cache_limit.make_room(usage.INDEX_HEAD + part.count * usage.INDEX_ROW)
            part.file.close()  # here, since what nobody holds is removed
            try:
                os.replace(part.path, part.rows)
                files.sync_folder(part.rows.parent)  # before an index names them
                place.describe()
                segment.state = segments.map_(segment, shape=place.shape, dtype=place.dtype)
                segments.write_index(segment, entry=place.digest)
                part.reserved -= place.size(part.count)
            except BaseException:
                cache.remove(part.rows)
                raise
        return segment


def _discard(part: _Part) -> None:
    """Remove the temporary file of a segment, and give back what it reserved and did not fill."""
    usage.take_back(part.counted, part.reserved)
    with contextlib.suppress(OSError):
        part.file.close()
    with contextlib.suppress(OSError):
        part.path.unlink()
