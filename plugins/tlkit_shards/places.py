"""Files on a disk and behind addresses: list them, ask for their state, open them.

The rule: an address that does not answer within 15 seconds is an error, and so is one that needs a library that is not installed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from tlkit.errors import DataError, DataMissing, readable, reason

PATIENCE = 15  # seconds that an address has to answer
_EXTRA = "pip install 'tlkit[shards]'"
_NOT_FOUND = 404  # RFC 9110, 15.5.5
_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class State:
    """What tells that a file is still the one that was indexed.

    Attributes:
        size: Bytes.
        version: Changes when the file does: times and inode of a file on a disk, ETag or time of one behind an address.
        seekable: It can be read from any position.
    """

    size: int
    version: str
    seekable: bool


def is_address(place: str) -> bool:
    """Return whether a file is behind an address, not on a disk."""
    return "://" in place


def joined(folder: str, name: str) -> str:
    """Return the place of a file in a folder; a name that is a whole place stays as it is."""
    if is_address(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else os.path.join(folder, name)


def parent(place: str) -> str:
    """Return the folder that a file lies in."""
    return place.rpartition("/")[0] if is_address(place) else os.path.dirname(place)


def expanded(pattern: str) -> list[str]:
    """Return the places that a pattern names: "{000..099}" and "{a,b}" by name; "*" as files that are there.

    Raises:
        DataMissing: none is there.
    """
    found = _braces(pattern) if "{" in pattern else [pattern]
    if not glob.has_magic(pattern):
        return found
    listed = [each for name in found for each in _globbed(name)]
    if not listed:
        raise DataMissing(f"{pattern}: there is no such file.")
    return listed


def names_in(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the places of the files in a folder, or one folder deeper, with one of some suffixes, sorted.

    Raises:
        DataError: the folder cannot be listed.
    """
    if not is_address(folder):
        below = [path for depth in ("*", "*/*") for path in glob.glob(os.path.join(glob.escape(folder), depth))]
    else:
        files, protocol = system(folder), folder.partition("://")[0]
        patterns = [f"{folder.rstrip('/')}/{depth}" for depth in ("*", "*/*")]
        listed = [path for pattern in patterns for path in asked(folder, partial(files.glob, pattern))]
        below = [path if is_address(path) else f"{protocol}://{path}" for path in listed]
    return sorted(each for each in below if each.lower().endswith(suffixes))


def state(place: str) -> State:
    """Return the state of a file.

    Raises:
        DataMissing: there is no such file.
        DataError: the address does not answer, or refuses.
    """
    compressed = place.lower().endswith(_COMPRESSED)
    if not is_address(place):
        with readable(place, DataMissing):
            found = os.stat(place)
        return State(found.st_size, f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}", not compressed)
    files = system(place)
    known = asked(place, lambda: files.info(place))
    version = next(
        (str(known[name]) for name in ("ETag", "etag", "sha256", "LastModified", "mtime", "created") if known.get(name)), ""
    )
    ranged = not place.startswith("http") or known.get("partial") is True
    size = known.get("size")
    return State(-1 if size is None else int(size), version, ranged and size is not None and not compressed)


@contextlib.contextmanager
def stream(place: str) -> Iterator[IO[bytes]]:
    """Open a file to read it once from beginning to end, decompressed where its name says so.

    Raises:
        DataError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        if is_address(place):
            files = system(place)
            # A block of 0 bytes is fsspec's stream for a server that cannot send a part of a file.
            more = {"block_size": 0} if place.startswith("http") and not state(place).seekable else {}
            opened = stack.enter_context(asked(place, lambda: files.open(place, "rb", **more)))
        else:
            with readable(place):
                opened = stack.enter_context(open(place, "rb"))
        yield cast(IO[bytes], stack.enter_context(_decompressed(place, opened)))


def part(place: str, begin: int, size: int) -> bytes:
    """Return bytes of a seekable file.

    Raises:
        DataError: they cannot be read.
    """
    if is_address(place):
        files = system(place)
        return cast(bytes, asked(place, lambda: files.cat_file(place, start=begin, end=begin + size)))
    with readable(place), open(place, "rb", buffering=0) as file:
        return os.pread(file.fileno(), size, begin)


def whole(place: str) -> bytes | None:
    """Return the content of a small file; None where there is none.

    Raises:
        DataError: the address does not answer.
    """
    if not is_address(place):
        with readable(place), contextlib.suppress(FileNotFoundError):
            return Path(place).read_bytes()
        return None
    files = system(place)
    with contextlib.suppress(DataMissing):
        return cast(bytes, asked(place, lambda: files.cat_file(place)))
    return None


def asked(place: str, question: Callable[[], Answer], *, patience: float = PATIENCE) -> Answer:
    """Ask an address, and wait at most 15 seconds, or `patience`, for its answer.

    Raises:
        DataMissing: it has no such file.
        DataError: it does not answer, or refuses; says why.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as error:  # whatever the library of a protocol raises
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # one that hangs does not keep the program from ending
    thread.start()
    thread.join(patience)
    if answers:
        return answers[0]
    if not errors:
        raise DataError(f"{place}: does not answer within {patience} s.", "is the address right, and the network there?")
    raise _said(place, errors[0]) from errors[0]


def system(place: str) -> Any:
    """Return fsspec's file system of an address; its types are not known.

    Raises:
        DataError: a library is not installed, or knows no such address.
    """
    protocol = place.partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise DataError(f"{place}: needs fsspec, which is not installed.", _EXTRA) from error
    try:
        return asked(place, lambda: fsspec.filesystem(protocol, **_settings(protocol)))
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError):
            raise DataError(f"{place}: needs a library that is not installed: {cause}.", _EXTRA) from cause
        if isinstance(cause, ValueError):
            raise DataError(
                f"{place}: {protocol}:// is no kind of address that fsspec knows.", "https, s3, gs or hf"
            ) from cause
        raise


def _settings(protocol: str) -> dict[str, Any]:
    """Return what fsspec's web addresses need to go through the proxy that the environment names, as other downloads do."""
    from fsspec.config import conf  # of ~/.config/fsspec, which fsspec reads alone where it is not given the same setting

    given = conf.get(protocol, {}).get("client_kwargs", {})
    return {"client_kwargs": {"trust_env": True, **given}} if protocol in ("http", "https") else {}


def _said(place: str, error: BaseException) -> DataError:
    """Return what a library's error means."""
    text = reason(error)
    cause = error.__cause__  # fsspec's https calls every failure a file that is not there
    status = getattr(cause, "status", _NOT_FOUND if cause is None or isinstance(cause, FileNotFoundError) else None)
    if isinstance(error, FileNotFoundError) and cause is not None and hasattr(cause, "response"):
        # S3 answered: also that there is no such bucket
        return DataMissing(f"{place}: there is no such file: {reason(cause)}.")
    if isinstance(error, FileNotFoundError) and cause is not None and status != _NOT_FOUND:
        said = "does not answer" if status is None else "is refused"
        return DataError(f"{place}: {said}: {reason(cause)}.", "is the address right, and the network there?")
    if isinstance(error, FileNotFoundError):
        return DataMissing(f"{place}: there is no such file.")
    if "redentials" in text or isinstance(error, PermissionError) or "Forbidden" in text:
        return DataError(
            f"{place}: no access: {text}.",
            "S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`; gs://: `gcloud auth application-default login`",
            "hf://: HF_TOKEN",
        )
    return DataError(f"{place}: cannot be used: {text}.", "is the address right, and the network there?")


def _braces(pattern: str) -> list[str]:
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise DataError(f"{pattern}: braces need the package braceexpand.", _EXTRA) from error
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise DataError(f"{pattern}: a brace is not closed.", "{000..099} names 100 files") from error


def _globbed(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return [pattern]
    if not is_address(pattern):
        return sorted(glob.glob(pattern))
    files, protocol = system(pattern), pattern.partition("://")[0]
    listed = asked(pattern, lambda: files.glob(pattern))
    return sorted(each if is_address(each) else f"{protocol}://{each}" for each in listed)


def _decompressed(place: str, opened: Any) -> Any:
    """Return a reader of what a file holds, by the suffix of its name."""
    suffix = posixpath.splitext(place.lower())[1]
    if suffix in (".gz", ".tgz"):
        import gzip

        return gzip.GzipFile(fileobj=opened)
    if suffix == ".bz2":
        import bz2

        return bz2.BZ2File(opened)
    if suffix == ".xz":
        import lzma

        return lzma.LZMAFile(opened)
    if suffix in _COMPRESSED:
        raise DataError(
            f"{place}: this kind of compression is not read.", "tar, tar.gz, tar.bz2 or tar.xz; images are compressed already"
        )
    return contextlib.nullcontext(opened)
