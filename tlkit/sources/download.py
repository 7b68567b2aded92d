"""Download a file: check it, then rename or unpack it, so that it is never half there."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

from tlkit.errors import DataError, TlkitError
from tlkit.plugin import HUB, Download
from tlkit.sources import hub

Notify = Callable[[str], None]
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte
_AGENT = "tlkit"


def fetch(download: Download, folder: Path, *, notify: Notify) -> Path:
    """Download a file into a folder, and unpack it there if it is an archive.

    Args:
        download: What to fetch.
        folder: Made where it is missing.
        notify: Told what is being done, one line.

    Returns:
        The file, or for an archive the folder.

    Raises:
        TlkitError: it cannot be fetched, or its checksum is wrong; nothing is left in the folder.
    """
    fresh = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    notify(f"downloading {download.url}")
    try:
        return _fetch(download, folder)
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


def _fetch(download: Download, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as beside:
        part = Path(beside) / download.filename
        _receive(download, part)
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


def _receive(download: Download, part: Path) -> None:
    try:
        answer, checksum = _open(download)
        with answer, part.open("wb") as file:
            if checksum:
                shutil.copyfileobj(answer, file, _CHUNK)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", error)
        raise TlkitError(f"{download.url}: cannot be downloaded: {reason}.") from error
    if not checksum:
        raise TlkitError(f"{download.url}: the server names no checksum, so the file cannot be checked.")
    if not checksum_fits(part, checksum):
        raise TlkitError(
            f"{download.url}: the downloaded file ({part.stat().st_size} bytes) does not have the checksum {checksum}.",
            "it was removed; try again, or download it another way",
        )


def _open(download: Download) -> tuple[HTTPResponse, str]:
    """Request a file; return the response, and the checksum that it must have."""
    if download.checksum == HUB:
        return hub.open_(download, agent=_AGENT, timeout=_TIMEOUT)
    request = urllib.request.Request(download.url, headers={"User-Agent": _AGENT})
    return urllib.request.urlopen(request, timeout=_TIMEOUT), download.checksum


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
