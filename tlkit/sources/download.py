"""Download a file: check it, then rename or unpack it, so that it is never half there.

The rule: the checksum is what is trusted. What a server says of itself decides nothing, and a redirect never leaves https.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import tarfile
import tempfile
import time
import urllib.error
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from tlkit.errors import DataError, TlkitError
from tlkit.plugin import HUB, Download
from tlkit.sources import hub, redirects

Notify = Callable[[str], None]
Watch = Callable[[], None]
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte
_SLOWEST = 1000  # bytes/s over so many seconds; a slower answer is given up
_MOST = 200 * 10**9  # bytes of a file whose length the server does not say
_TRIES = 5  # of one file; each must bring more of it
_HEAD = 512  # bytes that show a web page
_WHOLE = 64  # digits of a sha256
_AGENT = "tlkit"


def fetch(download: Download, folder: Path, *, notify: Notify, watch: Watch = lambda: None) -> Path:
    """Download a file into a folder, and unpack it there if it is an archive.

    Args:
        download: What to fetch.
        folder: Made where it is missing.
        notify: Told what is being done, one line.
        watch: Called as often as a part of it comes; may raise a TlkitError to stop it.

    Returns:
        The file, or for an archive the folder.

    Raises:
        TlkitError: it cannot be fetched, or its checksum is wrong; nothing is left in the folder.
    """
    fresh = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    notify(f"downloading {download.url}{_trust(download)}")
    try:
        return _fetch(download, folder, watch)
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


def _fetch(download: Download, folder: Path, watch: Watch) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as beside:
        part = Path(beside) / download.filename
        _receive(download, part, watch)
        if not download.archive:
            os.replace(part, folder / download.filename)
            return folder / download.filename
        unpacked = Path(beside) / "unpacked"
        _unpack(part, unpacked)
        if download.inner:
            _unpack_inner(unpacked, download)
        for entry in unpacked.iterdir():
            _move_in(entry, folder / entry.name)
    return folder


def _move_in(entry: Path, place: Path) -> None:
    """Move a file or folder to its place; existing files stay, missing ones are added."""
    if not place.exists():
        os.replace(entry, place)
    elif entry.is_dir() and place.is_dir():
        for below in entry.iterdir():
            _move_in(below, place / below.name)


def _receive(download: Download, part: Path, watch: Watch) -> None:
    """Write a download into a file; one that breaks off is continued where the server can, as long as more of it comes."""
    checksum, broken = "", 0
    while True:
        came = part.stat().st_size if part.is_file() else 0
        try:
            checksum = _append(download, part, came, watch)
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            _raise_of_disk(error)
            broken += 1
            now = part.stat().st_size if part.is_file() else 0
            if now == came or broken == _TRIES:
                raise _broken_off(download, now, error) from error
    if not checksum:
        raise TlkitError(f"{download.url}: the server names no checksum, so the file cannot be checked.")
    if not checksum_fits(part, checksum):
        with part.open("rb") as file:
            page = file.read(_HEAD).lstrip().lower().startswith((b"<!doctype html", b"<html"))
        raise TlkitError(
            f"{download.url}: a web page came instead of the file."
            if page
            else f"{download.url}: the downloaded file ({part.stat().st_size} bytes) does not have the checksum {checksum}.",
            "a proxy or a page that asks for a login may have answered; open the address in a browser" if page else "",
            "it was removed; try again, or download it another way",
        )


def _append(download: Download, part: Path, came: int, watch: Watch) -> str:
    """Request what is missing of a file, write it, and return the checksum that the file must have.

    Raises:
        OSError: it cannot be had, or it broke off.
        ValueError: the server's answer cannot be used.
    """
    answer, checksum = _open(download, came)
    with answer:
        continued = answer.status == http.client.PARTIAL_CONTENT
        if continued and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {came}-"):
            raise ValueError("the server sent another part of the file than was asked for")
        whole = (came if continued else 0) + int(answer.headers.get("Content-Length") or _MOST)
        with part.open("ab" if continued else "wb") as file:
            if checksum:
                _copy(answer, file, whole, watch)
                file.flush()
                if "Content-Length" in answer.headers and file.tell() < whole:
                    raise ConnectionError(f"{whole:,} bytes were announced")
    return checksum


def _copy(answer: HTTPResponse, file: BinaryIO, whole: int, watch: Watch) -> None:
    """Copy an answer; one that is too slow, or does not end, is given up."""
    began, since = time.monotonic(), file.tell()
    while chunk := answer.read1(_CHUNK):
        file.write(chunk)
        watch()
        if file.tell() > whole:
            raise ValueError(f"more than {whole:,} bytes came")
        if time.monotonic() - began > _TIMEOUT:
            if file.tell() - since < _SLOWEST * _TIMEOUT:
                raise TimeoutError(f"only {file.tell() - since:,} bytes came in {_TIMEOUT} s")
            began, since = time.monotonic(), file.tell()


def _raise_of_disk(error: Exception) -> None:
    """Raise an error of this machine's disk again: another try does not help."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
        raise error


def _broken_off(download: Download, came: int, error: Exception) -> TlkitError:
    """Return the error for a download that did not end."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it holds the connection
    reason = getattr(error, "reason", error)
    if not came:
        return TlkitError(f"{download.url}: cannot be downloaded: {reason}.")
    return TlkitError(
        f"{download.url}: cannot be downloaded: it broke off after {came:,} bytes: {reason}.",
        "nothing of it was kept; try again, or download it another way",
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
