"""Ask whether a Ray cluster answers at an address, in a moment and without Ray, which itself would wait for minutes."""

from __future__ import annotations

import os
import socket

from tlkit.errors import TlkitError, option
from tlkit.plugin import Demand

START = "start the cluster, `ray start --head`, or leave the address out for a Ray of this machine"
_ANSWER = 5.0  # seconds that each address of a host has to accept, and then to answer: with IPv4 and IPv6 15 in all
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the frame with which both sides begin, with nothing set


def ask(demand: Demand) -> None:
    """Raise TlkitError where nothing answers at the address as Ray does. Ray's servers speak HTTP/2: RFC 9113, 3.4."""
    address = demand.address
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER) as asked:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            asked.sendall(_PREFACE + _SETTINGS)
            answer = asked.recv(len(_SETTINGS), socket.MSG_WAITALL)
    except OverflowError as error:
        raise TlkitError(f"{option('address', address)}: {port} is no port.", START) from error
    except OSError as error:
        raise TlkitError(f"{option('address', address)}: nothing answers there: {error.strerror or error}.", START) from error
    if answer[3:4] != _SETTINGS[3:4]:
        raise TlkitError(f"{option('address', address)}: what answers there is no Ray cluster.", START)
