"""Tell which pictures a process was decoding when it died. A process that crashes in a decoder, or is killed, leaves no message.

The rule: each thread writes the picture that it decodes into a place of its own in a file, which costs two or three microseconds, and the
file goes when the process ends by itself. One that stays is of a process that died. The file is not mapped: where a file system copies what is
written, as Btrfs does, and is full, a process that writes into a mapping is ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from tlkit import files, machine
from tlkit.errors import TlkitError
from tlkit.record import lock_holder
from tlkit.store import unfinished

_NAME = ".decoding"  # in the cache folder; behind it what names the machine, its start and the process, each after a "-"
_PLACE = 512  # bytes of who writes the file, and then of each picture's name
_FORGOTTEN = 7 * 24 * 3600.0  # seconds after which another machine's file goes
_MORE = 8  # places beside two for each processor: batches of two kinds may be decoded at a time


class _Places:
    """The file of this process.

    Args:
        handle: It, open; it is closed when no thread has this object any more.
        length: Its bytes, of whole places.
    """

    def __init__(self, handle: int, length: int) -> None:
        self._handle = handle
        self._free = deque(range(_PLACE, length, _PLACE))
        weakref.finalize(self, os.close, handle)

    def begin(self, name: str) -> int:
        """Write a picture's name; return where, 0 where more threads decode than there are places."""
        try:
            at = self._free.pop()
        except IndexError:
            return 0
        content = name.encode(errors="surrogateescape")
        if len(content) >= _PLACE:
            content = b"..." + content[4 - _PLACE :]
        self._write(content + b"\0", at)
        return at

    def end(self, at: int) -> None:
        """Forget what was written there."""
        if at:
            self._write(b"\0", at)
            self._free.append(at)

    def _write(self, content: bytes, at: int) -> None:
        with contextlib.suppress(OSError):  # a full disk
            os.pwrite(self._handle, content, at)


_mine: _Places | None = None  # a process has one


class named:  # noqa: N801  # it is used as a function; a generator would cost more
    """Name a picture in the file of this process, if there is one, while it is decoded within the block.

    Args:
        picture: Its file.
    """

    __slots__ = ("_at", "_picture", "_places")

    def __init__(self, picture: object) -> None:
        self._picture, self._places = picture, _mine

    def __enter__(self) -> None:
        if self._places is not None:
            self._at = self._places.begin(str(self._picture))

    def __exit__(self, *_: object) -> None:
        if self._places is not None:
            self._places.end(self._at)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep what this process decodes in a file within the block, where the cache folder is there and its file system has locks."""
    global _mine
    made = None if _mine is not None else _made()
    if made is None:
        yield
        return
    path, _mine = made
    try:
        yield
    finally:
        _mine = None
        with contextlib.suppress(OSError):
            path.unlink()


def tell_left(note: Callable[[str], None]) -> None:
    """Tell which pictures processes of this machine were decoding when they died, and remove their files."""
    with contextlib.suppress(OSError, TlkitError):
        for path in sorted(files.cache_folder().glob(f"{_NAME}-*")):
            _tell(path, note)


def _tell(path: Path, note: Callable[[str], None]) -> None:
    _, *known = path.name.split("-")
    if len(known) != 3:
        return
    host, start = (given == mine for given, mine in zip(known, _machine(), strict=False))
    start = start and (host or machine.boot() != "")  # a container may have had another name on the same kernel
    if not (host or start):
        if time.time() - path.stat().st_mtime > _FORGOTTEN:  # a cache that machines share which come and go
            path.unlink()
        return
    if not unfinished.abandoned(path):
        return
    content = path.read_bytes()
    path.unlink()
    holder = lock_holder.parsed(content[:_PLACE].rstrip(b"\0"))
    names = [content[at : at + _PLACE].partition(b"\0")[0] for at in range(_PLACE, len(content), _PLACE)]
    pictures = sorted(name.decode(errors="backslashreplace") for name in names if name)
    if pictures and holder is not None and start:  # else the power may have failed, and nothing of the file was synced
        note(
            f"{holder.killed()}; pictures being decoded then: {', '.join(pictures)}. If it is killed again, leave them out one by one"
        )


def _machine() -> tuple[str, str]:
    """Return what names this machine, and its start."""
    host, start = (hashlib.sha256(each.encode()).hexdigest()[:8] for each in (platform.node(), machine.boot()))
    return host, start


def _made() -> tuple[Path, _Places] | None:
    """Make the file of this process, and lock it; None where that cannot be."""
    try:
        path = files.cache_folder() / "-".join([_NAME, *_machine(), secrets.token_hex(4)])
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except (OSError, TlkitError):
        return None
    try:
        unfinished.lock(handle)
        head = lock_holder.text(lock_holder.this()).encode().ljust(_PLACE, b"\0")
        content = head + bytes(_PLACE * (2 * machine.processors() + _MORE))
        if os.write(handle, content) == len(content):  # else the disk is full
            return path, _Places(handle, len(content))
    except OSError:
        pass
    os.close(handle)  # before it is removed, as Windows asks
    with contextlib.suppress(OSError):
        path.unlink()
    return None
