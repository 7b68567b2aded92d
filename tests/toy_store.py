"""Rows of numbers for tests of the store: what is put in for a number, and what has to come back."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tlkit.store import cache, row_store
from tlkit.store.segments import Keys, Rows
from tlkit.store.usage import Kind

SHAPE = (2, 3)
ROW = 2 * 3 * 4  # bytes


def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the cache be a folder that is not there yet, without a limit; return it."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TLKIT_CACHE_BYTES", raising=False)
    return tmp_path / "cache"


def keys_of(*numbers: int) -> Keys:
    return np.array([list(hashlib.sha256(str(number).encode()).digest()[:16]) for number in numbers], np.uint8).reshape(-1, 16)


def rows_of(*numbers: int, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> Rows:
    made = [np.random.default_rng(number).integers(0, 250, shape) for number in numbers]
    return np.array(made, dtype).reshape(-1, *shape)


def opened(notes: list[str] | None = None, /, **facts: cache.Scalar) -> row_store.Entry:
    note = notes.append if notes is not None else refuse
    return row_store.open_(Kind.FEATURES, facts or {"network": "toy"}, shape=SHAPE, dtype="float32", note=note)


def refuse(line: str) -> None:
    raise AssertionError(f"said: {line}")


def kept(*numbers: int, **facts: cache.Scalar) -> None:
    """Keep rows in segments of their own."""
    opened(**facts).append(keys_of(*numbers), [rows_of(*numbers)])


def present(entry: row_store.Entry, *numbers: int) -> list[int]:
    """Which rows are there; and they are what they should be."""
    there = [number for number, missing in zip(numbers, entry.missing(keys_of(*numbers)), strict=True) if not missing]
    assert np.array_equal(entry.gather(keys_of(*there)), rows_of(*there))
    return there


def tree(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file() and not path.name.endswith(".lock")}


def only(folder: Path, suffix: str) -> Path:
    [path] = folder.rglob(f"*{suffix}")
    return path


def spoil(path: Path, at: int, by: int = 1) -> None:
    """Change one byte and put the times back, as a disk does that forgets."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= by
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def size_of(count: int) -> int:
    """Bytes of one segment of so many rows with its index, by hand."""
    return count * (ROW + 24) + 88
