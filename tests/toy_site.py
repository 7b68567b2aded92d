"""A web site on this machine, whose answers can be wrong in many ways."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from conftest import served

from tlkit.plugin import Download


class Site:
    """A web site on this machine: what it serves, and what was asked of it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.short = 0  # bytes that it promises and does not send
        self.chunked = False
        self.broken = False
        self.asked: list[str] = []
        self.asked_from: list[str | None] = []  # the header Range of each request
        self.breaks = 0  # answers that break off in their middle
        self.ranges = False  # whether it sends a part of a file
        self.shifted = 0  # bytes that such a part begins too late
        self.redirect = ""
        self.endless = False
        self.silent = 0.0  # seconds before it answers
        self.dripping = b""  # begins headers, or the body of a redirect, that come byte by byte without end
        self.page = False  # whether it answers with a web page
        self.etag = ""  # as the hub names a sha256

    def offer(self, name: str, content: bytes, *, checksum: str = "", archive: bool = False) -> Download:
        self.files[name] = content
        right = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return Download(url=f"{self.address}/{name}", checksum=checksum or right, filename=name, archive=archive)


@contextlib.contextmanager
def opened() -> Iterator[Site]:
    """Serve on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            mine.asked.append(name)
            mine.asked_from.append(self.headers.get("Range"))
            time.sleep(mine.silent)
            if mine.dripping:
                self.wfile.write(mine.dripping)
                with contextlib.suppress(OSError):  # the other end goes away
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.02)
            if mine.page:
                self.answer(b"\n<!DOCTYPE html><title>Log in</title>")
                return
            if mine.redirect and not mine.redirect.endswith(self.path):
                self.send_response(302)
                self.send_header("Location", mine.redirect)
                self.end_headers()
                return
            if mine.broken:
                self.wfile.write(b"this is no answer\r\n\r\n")
                return
            if name not in mine.files:
                self.send_error(404)
                return
            content = mine.files[name]
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if mine.ranges else 0
            self.send_response(206 if start else 200)
            if mine.etag:
                self.send_header("X-Linked-Etag", mine.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start + mine.shifted}-{len(content) - 1}/{len(content)}")
                content = content[start:]
            if mine.endless:
                self.end_headers()
                with contextlib.suppress(OSError):  # the other end goes away
                    while True:
                        self.wfile.write(content)
                        time.sleep(0.001)
                return
            if mine.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n" % len(content) + content[: len(content) // 2])
                return
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            mine.breaks -= 1
            self.wfile.write(content[: len(content) // 2] if mine.breaks >= 0 else content[: len(content) - mine.short])

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as address:
        mine = Site(address)
        yield mine
