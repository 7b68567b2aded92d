"""Download a file: check it, then rename or unpack it, so that it is never half there.

The rule: the checksum is what is trusted. What a server says of itself decides nothing, and a redirect never leaves https. Bytes that came
before a download was stopped are used by the next one, which holds the whole file against the same checksum.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from tlkit import files, units
from tlkit.errors import DataError, TlkitError
from tlkit.plugin import HUB, Download
from tlkit.sources import hub, parts, redirects
from tlkit.sources.parts import Part

Notify = Callable[[str], None]
Show = Callable[[str, int, int | None], bool]
Watch = Callable[[], None]
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte
_SLOWEST = 1000  # bytes/s over so many seconds; a slower answer is given up
_MOST = 200 * 10**9  # bytes of a file whose length the server does not say
_TRIES = 5  # of one file; each must bring more of it
_HEAD = 512  # bytes that show a web page
_WHOLE = 64  # digits of a sha256
_OFTEN = 10  # seconds between two lines that say how much came
_AGENT = "tlkit"


def fetch(
    download: Download, folder: Path, *, notify: Notify, show: Show = lambda *_: False, watch: Watch = lambda: None
) -> Path:
    """Download a file into a folder, and unpack it there if it is an archive.

    Args:
        download: What to fetch.
        folder: Made where it is missing.
        notify: Told what is being done, one line.
        show: As `Observer.downloading`.
        watch: Called as often as a part of it comes; may raise a TlkitError to stop it.

    Returns:
        The file, or for an archive the folder.

    Raises:
        TlkitError: it cannot be fetched, or its checksum is wrong; nothing is left in the folder but the first part of a large file.
    """
    fresh = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    notify(f"downloading {download.url}{_trust(download)}")
    try:
        with parts.held(folder, download) as part:
            try:
                return _fetch(download, folder, part, notify=notify, show=show, watch=watch)
            except KeyboardInterrupt:
                notify(f"stopped: {part.came:,} bytes of {download.url} came{'; ' if part.kept else ''}{part.kept}.")
                raise
    except BaseException:
        for parent in fresh:  # the folders that were made for it, inner first
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def checksum_fits(path: Path, checksum: str) -> bool:
    """Return whether a file matches a checksum, "sha256:<hex or its first digits>" or "md5:<hex>"."""
    kind, _, digits = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest().startswith(digits)


def _fetch(download: Download, folder: Path, part: Part, *, notify: Notify, show: Show, watch: Watch) -> Path:
    if part.came:
        notify(f"goes on after the {units.size(part.came)} that came before")
    try:
        _receive(download, part, _Shown(download, notify, show, watch))
    finally:
        show(download.filename, part.came, part.came)
    if not download.archive:
        _move_whole(part.path, folder / download.filename)
        return folder / download.filename
    try:
        _unpack(part.path, part.unpacked)
        if download.inner:
            _unpack_inner(part.unpacked, download)
    except DataError:
        part.drop()
        raise
    if hasattr(os, "sync"):  # of many small files one by one it would take minutes
        os.sync()
    for entry in part.unpacked.iterdir():
        _move_in(entry, folder / entry.name)
    files.sync_folder(folder)
    shutil.rmtree(part.unpacked, ignore_errors=True)
    part.path.unlink()  # last: a process that is killed before downloads nothing again
    return folder


def _move_whole(part: Path, place: Path) -> None:
    """Give a file its name once its bytes are on the disk: after a power failure what has the name is whole."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, place)
    files.sync_folder(place.parent)


def _move_in(entry: Path, place: Path) -> None:
    """Move a file or folder to its place; existing files stay, missing ones are added."""
    if not place.exists():
        os.replace(entry, place)
    elif entry.is_dir() and place.is_dir():
        for below in entry.iterdir():
            _move_in(below, place / below.name)


class _Endless(Exception):
    """An answer has more bytes than a file may have; another try brings no other."""


class _Shown:
    """Shows how much of a download came; where that cannot be shown, says it every few seconds.

    Args:
        download: What is fetched.
        notify: Told a line.
        show: Asked first.
        watch: Called as often as a part comes.
    """

    def __init__(self, download: Download, notify: Notify, show: Show, watch: Watch) -> None:
        self._name, self._notify, self._show, self._watch = download.filename, notify, show, watch
        self._said = time.monotonic()

    def __call__(self, came: int, whole: int | None) -> None:
        self._watch()
        if not self._show(self._name, came, whole) and time.monotonic() - self._said > _OFTEN:
            self._said = time.monotonic()
            of = f" of {units.size(whole)} ({came / whole:.0%})" if whole else ""
            self._notify(f"downloading {self._name}: {units.size(came)}{of}")


def _receive(download: Download, part: Part, shown: _Shown) -> None:
    """Write a download into a file; one that breaks off is continued where the server can, as long as more of it comes.

    Bytes of an earlier process that do not fit what the server has now are dropped, and all of it is requested.
    """
    earlier = part.came
    if (
        earlier and download.checksum == HUB
    ):  # its checksum comes with an answer, and a file that came whole gets none for what is missing
        os.truncate(part.path, earlier - 1)
    whole = earlier and download.checksum != HUB and checksum_fits(part.path, download.checksum)
    checksum = download.checksum if whole else _request(download, part, shown)
    if checksum and earlier and not checksum_fits(part.path, checksum):
        part.drop()
        checksum = _request(download, part, shown)
    if not checksum:
        raise TlkitError(f"{download.url}: the server names no checksum, so the file cannot be checked.")
    if not checksum_fits(part.path, checksum):
        size = part.came
        part.drop()
        raise TlkitError(
            f"{download.url}: the downloaded file ({size} bytes) does not have the checksum {checksum}.",
            "it was removed; try again, or download it another way",
        )


def _request(download: Download, part: Part, shown: _Shown) -> str:
    """Request what is missing of a file until all of it came; return the checksum that it must have, "" where none is named."""
    broken = 0
    while True:
        came = part.came
        try:
            return _append(download, part.path, came, shown)
        except _Endless as error:
            part.drop()
            raise TlkitError(f"{download.url}: cannot be downloaded: {error}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            _raise_of_disk(error)
            broken += 1
            if came and getattr(error, "code", None) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.drop()  # as much as the server has, or more
            elif part.came == came or broken == _TRIES:
                raise _broken_off(download, part, error) from error
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection


def _append(download: Download, part: Path, came: int, shown: _Shown) -> str:
    """Request what is missing of a file, write it, and return the checksum that the file must have.

    Raises:
        TlkitError: a web page came.
        OSError: it cannot be had, or it broke off.
        ValueError: the server's answer cannot be used.
    """
    answer, checksum = _open(download, came)
    with answer:
        continued = answer.status == http.client.PARTIAL_CONTENT
        if continued and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {came}-"):
            raise ValueError("the server sent another part of the file than was asked for")
        if not continued and answer.peek(_HEAD)[:_HEAD].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise TlkitError(
                f"{download.url}: a web page came instead of the file.",
                "a proxy or a page that asks for a login may have answered; open the address in a browser",
                "try again, or download it another way",
            )
        length = answer.headers.get("Content-Length")
        whole = None if length is None else (came if continued else 0) + int(length)
        if checksum:
            with part.open("ab" if continued else "wb") as file:
                _copy(answer, file, whole, shown)
                file.flush()
                if whole is not None and file.tell() < whole:
                    raise ConnectionError(f"{whole:,} bytes were announced")
    return checksum


def _copy(answer: HTTPResponse, file: BinaryIO, whole: int | None, shown: _Shown) -> None:
    """Copy an answer; one that is too slow, or does not end, is given up."""
    most = file.tell() + _MOST if whole is None else whole
    began, since = time.monotonic(), file.tell()
    while chunk := answer.read1(_CHUNK):
        file.write(chunk)
        shown(file.tell(), whole)
        if file.tell() > most:
            raise _Endless(f"more than {most:,} bytes came")
        if time.monotonic() - began > _TIMEOUT:
            if file.tell() - since < _SLOWEST * _TIMEOUT:
                raise TimeoutError(f"only {file.tell() - since:,} bytes came in {_TIMEOUT} s")
            began, since = time.monotonic(), file.tell()


def _raise_of_disk(error: Exception) -> None:
    """Raise an error of this machine's disk again: another try does not help."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
        raise error


def _broken_off(download: Download, part: Part, error: Exception) -> TlkitError:
    """Return the error for a download that did not end."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it holds the connection
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError):
        reason = reason.strerror or reason
    proxy = redirects.proxy(download.url)
    failed = f"{download.url}: cannot be downloaded{f' through the proxy {proxy}' if proxy else ''}: "
    if not part.came:
        return TlkitError(f"{failed}{reason}.")
    broke = (
        "" if isinstance(error, urllib.error.HTTPError) else f"it broke off after {part.came:,} bytes: "
    )  # else the server refused
    return TlkitError(
        f"{failed}{broke}{reason}.",
        f"{part.kept or 'nothing of it was kept'}; try again, or download it another way",
    )


def _open(download: Download, came: int = 0) -> tuple[HTTPResponse, str]:
    """Request a file from a byte on; return the response, and the checksum that it must have."""
    headers = {"User-Agent": _AGENT} | ({"Range": f"bytes={came}-"} if came else {})
    if download.checksum == HUB:
        return hub.open_(download, headers=headers, timeout=_TIMEOUT)
    return redirects.open_(download.url, headers=headers, timeout=_TIMEOUT)[0], download.checksum


def _trust(download: Download) -> str:
    """Return what a user should know of how a download is checked; "" where it comes by https and has a whole sha256."""
    kind, _, digits = download.checksum.partition(":")
    told = [] if download.url.startswith("https:") else ["not by https"]
    if download.checksum == HUB:
        told.append("its sha256 is the one that the hub names")
    elif kind != "sha256" or len(digits) < _WHOLE:
        told.append(f"checked by {f'{len(digits)} digits of its sha256' if kind == 'sha256' else kind} alone")
    return f" ({', '.join(told)})" if told else ""


def _unpack_inner(unpacked: Path, download: Download) -> None:
    inner = next(iter(sorted(unpacked.rglob(download.inner))), None)
    if inner is None:
        raise DataError(f"{download.filename}: holds no {download.inner}.")
    _unpack(inner, inner.parent)
    inner.unlink()


def _unpack(part: Path, unpacked: Path) -> None:
    unpacked.mkdir(exist_ok=True)
    try:
        if part.suffix == ".zip":
            with zipfile.ZipFile(part) as archive:
                archive.extractall(unpacked)
        else:
            with tarfile.open(part) as archive:
                archive.extractall(unpacked, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{part.name}: cannot be unpacked: {error}.") from error
