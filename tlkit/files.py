"""Write files atomically; where the cache is, and what to say of a place that cannot be written. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tlkit.errors import RunFailed, TlkitError, option, writable


def cache_folder() -> Path:
    """Return the cache folder: $TLKIT_CACHE, else ~/.cache/tlkit/store.

    Raises:
        TlkitError: there is no home folder.
    """
    return _expanded("TLKIT_CACHE") or home_cache() / "store"


def told_cache() -> str:
    """Return the cache folder as a message names it, without a home folder too."""
    try:
        return str(cache_folder())
    except TlkitError:
        return "~/.cache/tlkit (there is no home folder: set HOME, or TLKIT_CACHE)"


def named_folder(variable: str) -> Path | None:
    """Return the folder in an environment variable, with "~" expanded; None if it is not set.

    Raises:
        TlkitError: it is a file, or there is no such home folder.
    """
    folder = _expanded(variable)
    if folder is not None and folder.is_file():
        raise TlkitError(f"{variable}={folder}: is a file, and {variable} names a folder.", f"{variable}={folder.parent}")
    return folder


def home_cache() -> Path:
    """Return ~/.cache/tlkit.

    Raises:
        TlkitError: there is no home folder.
    """
    try:
        return Path.home() / ".cache" / "tlkit"
    except RuntimeError as error:
        raise TlkitError(
            "~/.cache/tlkit: there is no home folder.", "set HOME, or TLKIT_CACHE, TLKIT_DATA and TLKIT_WEIGHTS"
        ) from error


def _expanded(variable: str) -> Path | None:
    """Return the path in an environment variable; None if it is not set. A cache that cannot be used is no error."""
    value = os.environ.get(variable)
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError as error:
        raise TlkitError(f"{variable}={value}: there is no such home folder.", "write the folder in full") from error


def shown(path: os.PathLike[str]) -> str:
    r"""Return a path as text that can be printed anywhere: bytes that are not UTF-8 become \udcff."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def refuse_other_than_utf8(path: Path) -> None:
    """Refuse a path whose name is not UTF-8: a run's files are JSON and TOML, which cannot name it.

    Raises:
        TlkitError: with the path.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise TlkitError(
            f"{shown(path)}: the name is not UTF-8, and a run's files could not name it.", "rename the folder"
        ) from None


def replace(path: Path, content: bytes | str) -> None:
    """Write a file atomically: a temporary file, flushed to the disk, then renamed, and the folder flushed too.

    Readers see the old or the new file; once this returns, the new one outlives a power failure.

    Raises:
        OSError: as the system says it; the file and its folder are then as they were.
    """
    replace_with(path, [content.encode() if isinstance(content, str) else content])


def replace_with(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file atomically as `replace` does, from pieces that are made one after the other.

    Raises:
        OSError: as the system says it; the file and its folder are then as they were.
    """
    with replacing(path) as file:
        file.writelines(chunks)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of another atomically, as `replace` does, when the context ends without an error.

    Raises:
        OSError: as the system says it; the file and its folder are then as they were.
    """
    handle, beside = _open_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename_over(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync_folder(path.parent)


def _rename_over(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except FileExistsError as error:  # POSIX knows no such error of a file; some network file systems do
        raise OSError(errno.EEXIST, "the file system cannot rename a file over another", os.fspath(target)) from error
    except IsADirectoryError as error:
        raise IsADirectoryError(errno.EISDIR, "there is a folder of this name", os.fspath(target)) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in; once this returns, they outlive a power failure.

    Raises:
        OSError: as the system says it.
    """
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    with _saying_what_is_missing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that what was renamed in it has its name after a power failure.

    Raises:
        OSError: the disk failed; of a file system that cannot do it, nothing.
    """
    if os.name == "nt":  # a folder cannot be opened there
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed left of writing a file. Call it where no other process can be writing that file."""
    for left in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):  # a folder of the user's
            left.unlink()


def _open_beside(path: Path) -> tuple[int, Path]:
    """Create a file in the same folder under a new name. Who may read it is for the user's umask to say."""
    while True:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileExistsError), _saying_what_is_missing(path.parent):
            return os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), beside


@contextlib.contextmanager
def _saying_what_is_missing(folder: Path) -> Iterator[None]:
    """Let the system's error say that a folder is not there, or which file stands in its place."""
    try:
        yield
    except OSError as error:
        file = file_in_place_of(folder)
        if file is not None:
            raise NotADirectoryError(errno.ENOTDIR, f"{shown(file)} is a file, not a folder", os.fspath(folder)) from error
        if isinstance(error, FileNotFoundError) and not os.path.lexists(folder):
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {shown(folder)}", os.fspath(folder)) from error
        raise


def file_in_place_of(folder: Path) -> Path | None:
    """Return the file that a path of a folder names, or leads through; None where the folder is there or can be made."""
    place = next((each for each in (folder, *folder.parents) if os.path.exists(each)), None)
    return place if place is not None and not place.is_dir() else None


def refuse_unwritable(folder: Path) -> None:
    """Raise an error for a folder that cannot be created or written, before any work is done.

    Raises:
        TlkitError: with what would help; nothing has failed yet that could have been done.
    """
    file = file_in_place_of(folder)
    if file is not None:
        raise TlkitError(*_unwritable(folder, OSError(errno.ENOTDIR, f"{shown(file)} is a file, not a folder")))
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise TlkitError(*_unwritable(folder, OSError(errno.EACCES, os.strerror(errno.EACCES))))


def refuse_file(path: Path, name: str) -> None:
    """Raise an error for a file that cannot be written, before anything is computed.

    Args:
        path: The file, which may be there.
        name: Of the option that names it.

    Raises:
        TlkitError: it is a folder, or its folder is not there or cannot be written.
    """
    folder = path.parent
    if path.is_dir():
        wrong = "is a folder"
    elif not folder.is_dir():
        wrong = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        wrong = f"the folder {folder} cannot be written"
    else:
        return
    raise TlkitError(f"{option(name, str(path))}: {wrong}.", f"another file: {option(name, 'FILE')}")


def replace_named(path: Path, content: bytes | str, name: str) -> None:
    """Write a file that a person named, as `replace` does.

    Args:
        path: The file.
        content: Of the file.
        name: Of the option that names it.

    Raises:
        TlkitError: it cannot be written.
    """
    with writable(path, f"another file: {option(name, 'FILE')}"):
        replace(path, content)


@contextlib.contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Raise `unwritable` where a file of a folder cannot be written within the block."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> RunFailed:
    """Return the error for a failed write, of a folder or of a file in it that something else stands in the way of."""
    return RunFailed(*_unwritable(folder, error))


def _unwritable(folder: Path, error: OSError) -> tuple[str, str]:
    if isinstance(error, IsADirectoryError | NotADirectoryError) and error.filename:
        return f"{error.filename}: cannot be written: {error.strerror}.", "move it away and run the same command again"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "make room and run" if full else f"name another folder with {option('runs')}, or make this one writable and run"
    return (
        f"{folder}: cannot be written: {error.strerror or error}.",
        f"{hint} the same command again; what is saved is kept",
    )
