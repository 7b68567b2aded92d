"""Digests of what files hold, remembered by size and time so that a file is read once. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tlkit.errors import DataError, TlkitError, readable
from tlkit.file_list import texts
from tlkit.files import cache_folder

_CHUNK = 1 << 20  # bytes read at a time
_BLOCK = 16_384  # files that are looked up, read and remembered at a time
_ASKED = 512  # of them that one question is about; SQLite before 3.32 takes 999 at most
# A file changed less than this ago may change again without its times showing it, so its hash is not remembered yet:
# nanoseconds; the coarsest times in use are FAT's, 2 seconds. Git has the same rule (Documentation/technical/racy-git).
_RACY = 2_000_000_000
_SWEPT = 250_000  # remembered hashes, 75 MB; each time that so many more are there, those of files that are gone are forgotten
HASHES = "hashes.sqlite"  # in the cache folder


def _blocks(listed: Iterator[str]) -> Iterator[list[str]]:
    while block := list(itertools.islice(listed, _BLOCK)):
        yield block


def _silent(_: str) -> None: ...


def sha256(path: Path) -> str:
    """Return a file's sha256 in hex, read from the file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def content(
    files: Iterable[Path], *, root: Path | None = None, again: bool = False, notify: Callable[[str], None] = _silent
) -> str:
    """Return one sha256 over the content of many files, and over their names below a folder where one is given.

    Args:
        files: In an order that means something, or sorted.
        root: Folder below which names count; None where they do not.
        again: Read every file, whatever is remembered of it.
        notify: Told of a file that is another than is remembered of it.

    Raises:
        DataError: a file cannot be read.
    """
    total, folder = hashlib.sha256(), None if root is None else os.path.join(root, "")
    with _memory() as memory:
        for block in _blocks(texts(files)):
            for file, digest in zip(block, _digests(block, memory, again=again, notify=notify), strict=True):
                total.update(_line(file, folder, digest))
    return total.hexdigest()


def known_content(files: Iterable[Path], *, root: Path | None = None) -> str | None:
    """Return `content` from remembered hashes; None if a file changed or has no remembered hash."""
    total, folder = hashlib.sha256(), None if root is None else os.path.join(root, "")
    with _memory() as memory:
        for block in _blocks(texts(files)):
            for file, digest in zip(block, _known(block, memory), strict=True):
                if digest is None:
                    return None
                total.update(_line(file, folder, digest))
    return total.hexdigest()


def known_digests(files: Iterable[Path]) -> list[bytes | None]:
    """Return `digests` from remembered hashes; None for a file that changed or has none. If a file is gone, None for all."""
    with _memory() as memory:
        return _known(list(texts(files)), memory)


def _known(listed: Sequence[str], memory: sqlite3.Connection | None) -> list[bytes | None]:
    folders = dict[str, str]()
    try:
        places = [place(file, folders) for file in listed]
    except OSError:
        return [None] * len(listed)
    return [None if digest is None else bytes.fromhex(digest) for digest in _remembered(places, memory)]


def digests(files: Iterable[Path], *, again: bool = False, notify: Callable[[str], None] = _silent) -> list[bytes]:
    """Return the sha256 of each file, 32 bytes.

    Each is remembered by (path, size, mtime, ctime, inode), as git's index does, so a folder that did not change is not
    read again.

    Args:
        files: Any, in any order.
        again: Read every file, whatever is remembered of it.
        notify: Told of a file that is another than is remembered of it.

    Raises:
        DataError: a file cannot be read.
    """
    with _memory() as memory:
        return [each for block in _blocks(texts(files)) for each in _digests(block, memory, again=again, notify=notify)]


def _digests(
    listed: Sequence[str], memory: sqlite3.Connection | None, *, again: bool, notify: Callable[[str], None]
) -> list[bytes]:
    folders = dict[str, str]()
    places, found, fresh = [], [], []
    for file in listed:
        try:  # a context manager takes longer than the question
            places.append(place(file, folders))
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
    for file, (path, state), known in zip(listed, places, _remembered(places, memory), strict=True):
        digest = known
        if digest is None or again:
            with readable(file):
                digest = sha256(Path(file))
                settled = _stat(file) == state and not _changing(file)
            if digest != known and (settled or known is not None):  # what is known and wrong must go at any rate
                fresh.append((path, state if settled else "", digest))
            if known not in (None, digest):
                notify(f"{file}: its content changed, though its size and times did not")
        found.append(bytes.fromhex(digest))
    _remember(fresh, memory)
    return found


def place(file: str, folders: dict[str, str]) -> tuple[bytes, str]:
    """Return a file's path without symbolic links, and its state.

    Args:
        file: The path.
        folders: Keeps what each folder is, so that it is looked up once.

    Raises:
        OSError: there is no such file.
    """
    folder, _, name = file.rpartition(os.sep)
    state = os.lstat(file)
    if stat.S_ISLNK(state.st_mode) or name in ("", ".", ".."):
        return os.fsencode(os.path.realpath(file)), _stat(file)
    real = folders.get(folder)
    if real is None:
        real = folders[folder] = os.path.join(os.path.realpath(folder or (os.sep if file[0] == os.sep else ".")), "")
    return os.fsencode(real + name), _state(state)


def racy(changed: int, *, seen: int) -> bool:
    """Return whether a file is so new that it may change again without a change of its times.

    Args:
        changed: The later of its mtime and ctime, in nanoseconds.
        seen: When it was looked at, in nanoseconds since the epoch.
    """
    return seen - changed < _RACY


def states(files: Iterable[Path]) -> bytes:
    """Return a digest of the states of files, which differs if one changed: size, mtime, ctime, inode, or that there is none."""
    total = hashlib.sha256()
    for file in texts(files):
        try:
            total.update(_stat(file).encode() + b"\n")
        except OSError:
            total.update(b"\n")
    return total.digest()


def remembered() -> str:
    """Return a text that is another when other digests are remembered."""
    try:
        return _stat(os.fspath(cache_folder() / HASHES))
    except (OSError, TlkitError):
        return ""


@contextlib.contextmanager
def _memory() -> Iterator[sqlite3.Connection | None]:
    """Open the database of hashes; a cache that cannot be used is no error."""
    with contextlib.ExitStack() as stack:
        memory = None
        try:
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            memory = stack.enter_context(contextlib.closing(sqlite3.connect(folder / HASHES, timeout=5)))
            # Waiting for the disk would take more than many a file's hash, and nothing but a power failure can tell: a row that such a
            # failure damages has a wrong checksum, and a damaged database is begun anew.
            memory.execute("pragma synchronous = off")
            _make_table(memory)
        except (OSError, sqlite3.Error, TlkitError) as error:
            _drop_damaged(error)
            memory = None
        yield memory


def _make_table(memory: sqlite3.Connection) -> None:
    """Make the table of hashes; one without these columns, of another version of tlkit, is begun anew."""
    make = "create table if not exists file (path blob primary key, stat text, sha256 text, crc integer)"
    memory.execute(make)
    if not {"path", "stat", "sha256", "crc"} <= {row[1] for row in memory.execute("pragma table_info(file)")}:
        memory.execute("drop table file")
        memory.execute(make)


@contextlib.contextmanager
def _unless_damaged() -> Iterator[None]:
    """Go on without remembered hashes where the database cannot be used."""
    try:
        yield
    except sqlite3.Error as error:
        _drop_damaged(error)


def _drop_damaged(error: Exception) -> None:
    """Remove the database of hashes where the error says that it is damaged, so that the next command begins a new one."""
    if type(error) is sqlite3.DatabaseError:  # the classes below it say that it is locked, or cannot be opened
        with contextlib.suppress(OSError, TlkitError):
            (cache_folder() / HASHES).unlink()


def drop_damaged_hashes() -> int:
    """Remove the database of hashes if it is damaged, and return the bytes freed."""
    path = cache_folder() / HASHES
    try:
        size = path.stat().st_size
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as memory:
            whole = memory.execute("pragma quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        whole = isinstance(error, sqlite3.OperationalError)
    except OSError:
        return 0
    if whole:
        return 0
    path.unlink(missing_ok=True)
    return size


def _remembered(places: Sequence[tuple[bytes, str]], memory: sqlite3.Connection | None) -> list[str | None]:
    """Return the hash of each path and state; None where there is none. One transaction, over before a file is read."""
    known: list[str | None] = [None] * len(places)
    if memory is not None:
        with _unless_damaged(), memory:
            memory.execute("begin")
            for start in range(0, len(places), _ASKED):
                some = places[start : start + _ASKED]
                marks = ",".join("?" * len(some))  # as many questions as files would take three times as long
                rows = memory.execute(
                    f"select path, stat, sha256, crc from file where path in ({marks})", [path for path, _ in some]
                )
                found = {(path, state): digest for path, state, digest, crc in rows if crc == _crc(path, state, digest)}
                known[start : start + len(some)] = [found.get(place) for place in some]
    return known


def _remember(hashes: Sequence[tuple[bytes, str, str]], memory: sqlite3.Connection | None) -> None:
    """Store hashes all at once, so that other processes can use the database meanwhile."""
    if memory is not None and hashes:
        with _unless_damaged(), memory:
            before = _count(memory)
            memory.executemany(
                "insert or replace into file (path, stat, sha256, crc) values (?, ?, ?, ?)",
                [(*each, _crc(*each)) for each in hashes],
            )
            if _count(memory) // _SWEPT > before // _SWEPT:
                paths = [row for row in memory.execute("select path from file") if not os.path.lexists(row[0])]
                memory.executemany("delete from file where path = ?", paths)


def _crc(path: object, state: object, digest: object) -> int:
    """Return a checksum of a row: SQLite sees only some of the bits that change on a disk, and a wrong hash names other data."""
    return zlib.crc32(f"{path!r} {state} {digest}".encode(errors="backslashreplace"))


def _count(memory: sqlite3.Connection) -> int:
    return int(memory.execute("select count(*) from file").fetchone()[0])


def _line(file: str, folder: str | None, digest: bytes) -> bytes:
    name = "" if folder is None else file.removeprefix(folder)  # a table may name images elsewhere
    return os.fsencode(name) + f"\0{digest.hex()}\n".encode()


def _changing(file: str) -> bool:
    state = os.stat(file)
    return racy(max(state.st_mtime_ns, state.st_ctime_ns), seen=time.time_ns())


def _stat(file: str) -> str:
    return _state(os.stat(file))


def _state(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
