"""Files behind an address as a copy of a folder: listed, fetched, sent and removed.

The rule: a file is there whole or not at all, here and there.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlkit_shards.places import asked, system

_PATIENCE = 600  # seconds that a large file may take


def listed(folder: str) -> dict[str, str]:
    """Return the files below an address: their names, and what changes where one does.

    Raises:
        DataError: the address does not answer, or refuses.
    """
    files = system(folder)

    def find() -> dict[str, dict[str, Any]]:
        files.invalidate_cache()
        found: dict[str, dict[str, Any]] = files.find(folder, detail=True)
        return found

    root = files._strip_protocol(folder).rstrip("/")
    return {path[len(root) + 1 :]: _version(known) for path, known in asked(folder, find).items()}


def text(place: str) -> str:
    """Return what a small file behind an address holds; "" where there is none.

    Raises:
        DataError: the address does not answer, or refuses.
    """
    files = system(place)

    def read() -> str:
        try:
            found: bytes = files.cat_file(place)
        except FileNotFoundError:
            return ""
        return found.decode(errors="replace")

    return asked(place, read)


def fetch(place: str, path: Path) -> None:
    """Copy a file from an address, with the time at which it was written there, where the system knows it.

    Raises:
        DataError: it cannot be read.
        OSError: it cannot be written here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    files = system(place)
    try:
        asked(place, lambda: files.get_file(place, str(beside)), patience=_PATIENCE)
        written = asked(place, lambda: _written(files, place))
        if written is not None:
            os.utime(beside, (written, written))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def send(path: Path, place: str) -> None:
    """Copy a file to an address.

    Raises:
        DataError: it cannot be written there.
    """
    files = system(place)

    def put() -> None:
        try:
            files.put_file(str(path), place)
        except FileNotFoundError:  # of a system that has folders
            files.makedirs(files._parent(place), exist_ok=True)
            files.put_file(str(path), place)

    asked(place, put, patience=_PATIENCE)


def remove(place: str) -> None:
    """Remove a file behind an address.

    Raises:
        DataError: it cannot be removed.
    """
    files = system(place)
    asked(place, lambda: files.rm_file(place))


def _written(files: Any, place: str) -> float | None:
    """Return when a file was written, seconds since 1970; None where its system does not know."""
    with suppress(NotImplementedError, LookupError, AttributeError, FileNotFoundError):
        return float(files.modified(place).timestamp())
    return None


def _version(known: dict[str, Any]) -> str:
    names = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
    return f"{known.get('size')} {next((known[name] for name in names if known.get(name)), '')}"
