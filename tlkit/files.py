"""Bytes on disk: written whole or not at all, hashed once for as long as they do not change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 20  # bytes read at a time


def cache_folder() -> Path:
    """Return the folder for what can be made again: $TLKIT_CACHE, else ~/.cache/tlkit/store."""
    return Path(os.environ.get("TLKIT_CACHE") or Path.home() / ".cache" / "tlkit" / "store")


def replace(path: Path, content: bytes | str) -> None:
    """Write a file beside its place, flush it to the disk, and rename it: readers see the old one or the new one, whole.

    Raises:
        OSError: as the system says it; the file and its folder are then as they were.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def sha256(path: Path) -> str:
    """Return a file's sha256 in hex, read from the file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def content(files: Iterable[Path], *, root: Path | None = None) -> str:
    """Return one sha256 over the content of many files, and over their names below a folder where one is given.

    Each file's own hash is remembered by (path, size, mtime, ctime, inode), as git's index does, so a folder that did not
    change is not read again.

    Args:
        files: In an order that means something, or sorted.
        root: Folder below which names count; None where they do not.
    """
    total = hashlib.sha256()
    with _memory() as memory:
        for file in files:
            name = file.relative_to(root).as_posix() if root is not None else ""
            total.update(f"{name}\0{_remembered(file, memory)}\n".encode())
    return total.hexdigest()


@contextlib.contextmanager
def _memory() -> Iterator[sqlite3.Connection | None]:
    """Open the remembered hashes; a cache that cannot be used costs time, never an error."""
    memory = None
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        memory = sqlite3.connect(folder / "hashes.sqlite", timeout=5)
        memory.execute("create table if not exists hash (path text primary key, stat text, sha256 text)")
    except (OSError, sqlite3.Error):
        memory = None
    try:
        yield memory
        if memory is not None:
            with contextlib.suppress(sqlite3.Error):
                memory.commit()
    finally:
        if memory is not None:
            memory.close()


def _remembered(file: Path, memory: sqlite3.Connection | None) -> str:
    resolved = str(file.resolve())
    stat = _stat(file)
    if memory is not None:
        with contextlib.suppress(sqlite3.Error):
            row = memory.execute("select sha256 from hash where path = ? and stat = ?", (resolved, stat)).fetchone()
            if row is not None:
                return str(row[0])
    digest = sha256(file)
    if memory is not None and _stat(file) == stat:
        with contextlib.suppress(sqlite3.Error):
            memory.execute("insert or replace into hash values (?, ?, ?)", (resolved, stat, digest))
    return digest


def _stat(file: Path) -> str:
    stat = file.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
