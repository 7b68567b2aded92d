"""Request a file and follow redirects: never from https to anything else. Imports no torch.

The rule: the headers of each answer, also of a proxy's, have to come within a time, all of them, and are no more than a megabyte. The time-out
of a socket is one of silence, and starts again with every byte. The body of a redirect is not read.
"""

from __future__ import annotations

import functools
import io
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPResponse
from typing import IO, cast
from urllib.error import URLError
from urllib.parse import urlsplit

_MOST = 1 << 20  # bytes of headers: http.client bounds their number, but not in a proxy's answer, nor of answers "100 Continue"
_WAITS = 2  # times the seconds without a byte, until the headers of an answer have come


def open_(url: str, *, headers: Mapping[str, str], timeout: float, remember: str = "") -> tuple[HTTPResponse, str]:
    """Request a file.

    Args:
        url: An http or https address.
        headers: Of the request.
        timeout: Seconds without a byte. Headers have twice as long, each redirect's again.
        remember: Name of a header of the answers.

    Returns:
        The last answer, and the first value of that header among the answers of the host that was asked, "" where it sent none.

    Raises:
        OSError: as urllib, or a redirect leads from https to another scheme.
        ValueError: it is no such address.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("only addresses of http and https are fetched")
    followed = _Followed(urlsplit(url).netloc, remember)
    request = urllib.request.Request(url, headers=dict(headers))
    opener = urllib.request.build_opener(followed, _Http, _Https)
    answer = cast(HTTPResponse, opener.open(request, timeout=timeout))
    if remember and not followed.found and urlsplit(answer.url).netloc == followed.host:
        followed.found = answer.headers.get(remember, "")
    return answer, followed.found


def proxy(url: str) -> str:
    """Return host and port of the proxy that an address is requested through, without its password; "" where there is none."""
    asked = urlsplit(url)
    through = "" if urllib.request.proxy_bypass(asked.netloc) else urllib.request.getproxies().get(asked.scheme, "")
    return through.rpartition("@")[2].rpartition("//")[2].rstrip("/")


class _Followed(urllib.request.HTTPRedirectHandler):
    """Follow redirects, and remember a header of those that the first host sent."""

    def __init__(self, host: str, remember: str) -> None:
        self.host, self.found, self._remember = host, "", remember

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Follow the redirect, unless it leads away from https."""
        fp.close()  # else urllib reads all of it, which may have no end
        before, scheme = urlsplit(req.full_url), urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (before.scheme == "https" and scheme != "https"):
            raise URLError(f"it redirects from {before.scheme} to {newurl}, which is not followed")
        if self._remember and before.netloc == self.host:
            self.found = self.found or headers.get(self._remember, "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed wants HTTPMessage


class _Bytes(io.RawIOBase):
    """What comes over a connection: until `lift`, all of it has to come within some time, and is no more than headers may be.

    Args:
        raw: Reads the connection.
        connection: Whose time-out is set before each read.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection, self._silence = raw, connection, connection.gettimeout()
        self._until = None if self._silence is None else time.monotonic() + _WAITS * self._silence
        self._came = 0

    def readable(self) -> bool:
        """Bytes can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # typeshed's Buffer is not in Python 3.11
        """Read what has come, at least a byte, into a buffer.

        Raises:
            TimeoutError: nothing came, or it took too long in all.
            OSError: too much came.
        """
        if self._until is None or self._silence is None:
            return cast(int | None, self._raw.readinto(buffer))
        left = self._until - time.monotonic()
        late = f"its headers did not end in {_WAITS * self._silence:g} s"
        if left <= 0:
            raise TimeoutError(late)
        if self._came > _MOST:
            raise OSError(f"its headers did not end in {self._came:,} bytes")
        self._connection.settimeout(min(left, self._silence))
        try:
            count = cast(int | None, self._raw.readinto(buffer))
            self._came += count or 0
            return count
        except TimeoutError as error:
            if left > self._silence:
                raise
            raise TimeoutError(late) from error

    def lift(self) -> None:
        """Let only silence end it from now on."""
        self._until = None
        if self._connection.fileno() >= 0:
            self._connection.settimeout(self._silence)

    def close(self) -> None:
        """Close it, and with it the connection where nothing else needs that; that of a proxy goes on with its own time-out."""
        if self._until is not None:
            self.lift()
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer whose headers have to come within some time."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._bytes = _Bytes(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._bytes)

    def begin(self) -> None:
        """Read the status and the headers."""
        super().begin()
        self._bytes.lift()


def _connect(kind: Callable[..., HTTPConnection], host: str, **options: object) -> HTTPConnection:
    connection = kind(host, **options)
    connection.response_class = _Answer  # of a proxy's answer as well
    return connection


class _Http(urllib.request.HTTPHandler):
    """Makes connections that give such answers."""

    def do_open(
        self, http_class: Callable[..., HTTPConnection], req: urllib.request.Request, **options: object
    ) -> HTTPResponse:
        """Send a request."""
        return super().do_open(functools.partial(_connect, http_class), req, **options)


class _Https(urllib.request.HTTPSHandler):
    """As `_Http`, by https."""

    def do_open(
        self, http_class: Callable[..., HTTPConnection], req: urllib.request.Request, **options: object
    ) -> HTTPResponse:
        """Send a request."""
        return super().do_open(functools.partial(_connect, http_class), req, **options)
