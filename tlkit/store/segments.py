"""A segment: an immutable file of rows and its index, mapped into memory and checked row by row when in doubt.

The rule: an index is believed only if its own sha256 holds; rows are believed if their file did not change since they were
last checked, as git believes its index (Documentation/technical/racy-git), and otherwise only by their crc32.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit import file_digests, files, machine
from tlkit.store import mapping, usage

Keys = NDArray[np.uint8]  # (N, 16), the first bytes of a sha256 of what determines the row
Rows = NDArray[np.generic]  # (N, *shape)

KEY = 16  # bytes
_MAGIC = b"tlkit rows 1\n\0\0\0"
_ANY = re.compile(rb"tlkit rows [0-9]+\n\0*")  # begins the index of every version
_STATE = np.dtype("<u8")  # 5 of them: size in bytes, mtime, ctime, inode, and when that was seen; times in nanoseconds
RECORD = np.dtype([("key", "u1", KEY), ("crc", "<u4"), ("position", "<u4")])
_ALL = 2**64 - 1  # bits of a number there; some systems' inodes have more
_AT_ONCE = 4 << 20  # bytes checked by a thread in one go
_SMALL = 8192  # bytes; smaller rows are copied faster together, though twice, larger ones one by one
_THREADS = min(8, machine.processors())

assert len(_MAGIC) + 32 + 5 * _STATE.itemsize == usage.INDEX_HEAD
assert RECORD.itemsize == usage.INDEX_ROW


class OtherVersion(ValueError):
    """An index of another version of tlkit."""


@dataclass(eq=False)
class Segment:
    """The rows of one file.

    Attributes:
        path: The file that holds the rows.
        records: Keys, checksums and positions of those that are good, (N,) `RECORD`.
        state: What the file was when they were last checked.
        rows: (M, *shape), mapped; None until they are needed. A row beyond M is lost.
    """

    path: Path
    records: NDArray[np.void]
    state: NDArray[np.uint64]
    rows: Rows | None = None


@dataclass(frozen=True, eq=False)
class Located:
    """The places of rows, found once. Any number of threads may gather them.

    Attributes:
        segments: Those that hold any of them.
        segment: (N,) int32, numbers of segments.
        position: (N,) int64, within the segment.
    """

    segments: tuple[Segment, ...]
    segment: NDArray[np.int32]
    position: NDArray[np.int64]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return len(self.position)

    def gather(self, positions: NDArray[np.int64], out: Rows | None = None) -> Rows:
        """Return copies of rows (n, *shape).

        Args:
            positions: (n,), among the rows that were located.
            out: Where they go, (n, *shape), C order; new memory where None.

        Raises:
            IndexError: a position is outside of them.
        """
        where = self.position[positions]
        out = np.empty((len(where), *self.shape), self.dtype) if out is None else out
        maps = [each.rows for each in self.segments if each.rows is not None]
        if len(maps) == 1:
            return np.take(maps[0], where, axis=0, out=out, mode="clip")  # "clip" writes to `out` without a buffer
        segment = self.segment[positions]
        if out.nbytes >= _SMALL * len(out):
            for number, (source, place) in enumerate(zip(segment.tolist(), where.tolist(), strict=True)):
                out[number] = maps[source][place]
            return out
        for source, rows in enumerate(maps):
            chosen = segment == source
            out[chosen] = rows[where[chosen]]
        return out


def read(path: Path, *, entry: str) -> Segment:
    """Read the index of a file of rows.

    Args:
        path: The file that holds the rows.
        entry: Digest of the entry that they belong to.

    Raises:
        OSError: there is none, or it cannot be read.
        OtherVersion: another version of tlkit wrote it.
        ValueError: it is damaged, or of another entry.
    """
    content = path.with_suffix(usage.INDEX).read_bytes()
    head, body = content[: len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
    if len(content) >= usage.INDEX_HEAD and _ANY.fullmatch(content[: len(_MAGIC)]) and not content.startswith(_MAGIC):
        raise OtherVersion("of another version of tlkit")
    if head != _MAGIC + _seal(body, entry):
        raise ValueError("damaged")
    length = 5 * _STATE.itemsize
    return Segment(path, np.frombuffer(body[length:], RECORD), np.frombuffer(body[:length], _STATE))


def write_index(segment: Segment, *, entry: str) -> None:
    """Write the index of a file of rows.

    Raises:
        OSError: it cannot be written; an older one is then as it was.
    """
    body = segment.state.tobytes() + segment.records.tobytes()
    files.replace(segment.path.with_suffix(usage.INDEX), _MAGIC + _seal(body, entry) + body)


def rewrite_index(segment: Segment, *, entry: str) -> None:
    """Write the index again, unless the segment was evicted. Call it under the cache's lock.

    Raises:
        OSError: it cannot be written.
    """
    if os.path.exists(segment.path.with_suffix(usage.INDEX)):
        write_index(segment, entry=entry)


def map_(segment: Segment, *, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[np.uint64]:
    """Map a segment's rows into memory, and return the state of the file; after that the file may be unlinked.

    Raises:
        OSError: the file is gone or cannot be read.
    """
    stat, mapped = mapping.content(segment.path)
    numbers = math.prod(shape)
    count = len(mapped) // (dtype.itemsize * numbers)
    segment.rows = np.frombuffer(mapped, dtype, count * numbers).reshape(count, *shape)
    return np.array([stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino & _ALL, time.time_ns()], _STATE)


def trusted(segment: Segment, now: NDArray[np.uint64]) -> bool:
    """Return whether a file is unchanged since its rows were checked."""
    seen, recorded = int(segment.state[4]), segment.state[:4]
    return bool((recorded == now[:4]).all()) and not file_digests.racy(int(max(recorded[1:3])), seen=seen)


def good(segment: Segment) -> NDArray[np.bool_]:
    """Return which records (N,) of a mapped segment have a row with the right checksum."""
    assert segment.rows is not None
    width = math.prod(segment.rows.shape[1:]) * segment.rows.itemsize
    flat = segment.rows.reshape(-1).view(np.uint8).reshape(-1, width)  # no copy; (M, bytes)
    positions, checksums = segment.records["position"], segment.records["crc"]
    block = max(1, _AT_ONCE // width)
    is_good = np.zeros(len(positions), bool)

    def check(start: int) -> None:
        for number in range(start, min(start + block, len(positions))):
            position = positions[number]
            is_good[number] = position < len(flat) and zlib.crc32(flat[position]) == checksums[number]

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(check, range(0, len(positions), block)))
    return is_good


def _seal(body: bytes, entry: str) -> bytes:
    return hashlib.sha256(entry.encode() + body).digest()
