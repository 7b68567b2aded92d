"""Ask whether a Ray cluster answers at an address, in a moment. Ray itself would wait for minutes.

The rule: what is asked is a call of gRPC that Ray's servers know. Many a server takes a connection, and those of HTTP/2 greet as Ray does.

Source: RFC 9113 (HTTP/2), RFC 7541 (its headers), https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator

from tlkit.errors import TlkitError, option
from tlkit.plugin import Demand

START = "start the cluster, `ray start --head`, or leave the address out for a Ray of this machine"
CLIENT = "ray://"  # the addresses of Ray's own proxy
_ANSWER = 5.0  # seconds that each address of a host has to accept, and the one that did to answer
_ALL = 14.0  # seconds in all: a host may have many addresses, and its name may be looked up for long
_MOST = 1 << 16  # bytes that are read; Ray answers some hundred
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4  # kinds of frames
_LAST, _WHOLE = 1, 4  # flags: the last frame of a call; headers that are in one frame
_HEAD = 9  # bytes before what a frame holds
_EMPTY = bytes(5)  # a message of gRPC: not compressed, with no bytes
_CLUSTER, _PROXY = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
_GRPC = (b"application/grpc", bytes.fromhex("1d75d0620d263d4c4d6564"))  # as it is, and in the code of RFC 7541, appendix B
_UNKNOWN = b"grpc-status\x0212"  # the server has no such call


def ask(demand: Demand) -> None:
    """Raise TlkitError where nothing answers at the address as Ray does."""
    address = named(demand)
    found = _found() if address == "auto" else address
    host, colon, port = found.removeprefix(CLIENT).rpartition(":")
    if not (colon and port.isdigit()):
        return
    said, named_host = option("address", address), host.strip("[]")
    if int(port) >= 1 << 16:
        raise TlkitError(f"{said}: {port} is no port.", START)
    asked = _asked_host(address, named_host)
    where = f"at {found}, the last cluster of this machine" if address == "auto" else "there"
    where = where if asked == named_host else f"at {asked}, as which Ray knows this machine"
    answer = _in_time(asked, int(port), _PROXY if address.startswith(CLIENT) else _CLUSTER)
    if isinstance(answer, OSError):
        raise TlkitError(f"{said}: nothing answers {where}: {answer.strerror or answer}.", START) from answer
    if not answer:
        raise TlkitError(f"{said}: what answers {where} is no Ray cluster.", START)


def named(demand: Demand) -> str:
    """Return the address that is meant: that of the cluster, else what Ray's own variable says; "" for a Ray of this machine."""
    return demand.address or os.environ.get("RAY_ADDRESS", "")


def _found() -> str:
    """Return the cluster that Ray finds on this machine, which may be one that was not stopped and is gone; "" for none."""
    from ray._private import services  # there is no other way to ask without connecting

    with contextlib.suppress(AttributeError, ConnectionError, TypeError, ValueError):
        return services.canonicalize_bootstrap_address("auto") or ""
    return ""


def _asked_host(address: str, host: str) -> str:
    """Return the host that Ray connects to, which for this machine is its address in the network."""
    if address.startswith(CLIENT) or host not in ("localhost", "127.0.0.1", "::1"):
        return host
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def _in_time(host: str, port: int, called: str) -> bool | OSError:
    """Return whether what listens there answers as Ray, or why nothing does."""
    answers = queue.SimpleQueue[bool | OSError]()

    def put() -> None:
        try:
            answers.put(_answers(host, port, called))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=put, daemon=True).start()  # looking up a name cannot be interrupted
    try:
        return answers.get(timeout=_ALL)
    except queue.Empty:
        return TimeoutError("timed out")


def _answers(host: str, port: int, called: str) -> bool:
    with socket.create_connection((host, port), timeout=_ANSWER) as asked:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return True
        call = _frame(_HEADERS, _call(called, f"{host}:{port}"), _WHOLE, stream=1) + _frame(_DATA, _EMPTY, _LAST, stream=1)
        asked.sendall(_PREFACE + _frame(_SETTINGS, b"", 0, stream=0) + call)
        headers = _first_headers(asked)
    return any(text in headers for text in _GRPC) and _UNKNOWN not in headers


def _first_headers(asked: socket.socket) -> bytes:
    """Return the headers of the answer; b"" where it is none of HTTP/2.

    Raises:
        OSError: none came in time.
    """
    end, received = time.monotonic() + _ANSWER, b""
    while len(received) < _MOST:
        for kind, payload in _whole_frames(received):
            if kind == _HEADERS:
                return payload
        if received[3:4] not in (b"", bytes([_SETTINGS])):
            return b""
        asked.settimeout(max(end - time.monotonic(), 1e-3))
        more = asked.recv(_MOST)
        if not more:
            return b""
        received += more
    return b""


def _whole_frames(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the kind and the payload of each frame that has arrived as a whole."""
    at = 0
    while at + _HEAD <= len(received):
        end = at + _HEAD + int.from_bytes(received[at : at + 3])
        if end <= len(received):
            yield received[at + 3], received[at + _HEAD : end]
        at = end


def _frame(kind: int, payload: bytes, flags: int, *, stream: int) -> bytes:
    """Return a frame of HTTP/2: its length in three bytes, kind, flags, stream, and what it holds."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _call(path: str, authority: str) -> bytes:
    """Return the headers of a call, each as it is and by its name: RFC 7541, 6.2.2."""
    fields = {
        ":method": "POST", ":scheme": "http", ":path": path, ":authority": authority[:100], "te": "trailers",
        "content-type": "application/grpc",
    }  # fmt: skip
    return b"".join(bytes([0, len(name)]) + name.encode() + bytes([len(text)]) + text.encode() for name, text in fields.items())
