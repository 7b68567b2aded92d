"""Request a file and follow redirects: never from https to anything else. Imports no torch."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPResponse
from typing import IO, cast
from urllib.error import URLError
from urllib.parse import urlsplit


def open_(url: str, *, headers: Mapping[str, str], timeout: float, remember: str = "") -> tuple[HTTPResponse, str]:
    """Request a file.

    Args:
        url: An http or https address.
        headers: Of the request.
        timeout: Seconds without a byte.
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
    answer = cast(HTTPResponse, urllib.request.build_opener(followed).open(request, timeout=timeout))
    if remember and not followed.found and urlsplit(answer.url).netloc == followed.host:
        followed.found = answer.headers.get(remember, "")
    return answer, followed.found


class _Followed(urllib.request.HTTPRedirectHandler):
    """Follow redirects, and remember a header of those that the first host sent."""

    def __init__(self, host: str, remember: str) -> None:
        self.host, self.found, self._remember = host, "", remember

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Follow the redirect, unless it leads away from https."""
        before, scheme = urlsplit(req.full_url), urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (before.scheme == "https" and scheme != "https"):
            raise URLError(f"it redirects from {before.scheme} to {newurl}, which is not followed")
        if self._remember and before.netloc == self.host:
            self.found = self.found or headers.get(self._remember, "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed wants HTTPMessage
