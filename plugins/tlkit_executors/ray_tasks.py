"""Runs as tasks of Ray Core: placed where their resources are, tried again elsewhere where a worker or a node dies.

The rule: Ray only calls work that is idempotent; what was done is in the run folders, never in Ray.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping

import ray
from ray.exceptions import RayError, RayTaskError

from tlkit.errors import RunFailed, TlkitError, option
from tlkit.plugin import Demand, Work

_TRIES = 5  # after workers or nodes that died
_ANSWER = 10.0  # seconds that an address has to answer
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the frame with which both sides begin, with nothing set
_START = "start the cluster, `ray start --head`, or leave the address out for a Ray of this machine"
_ASK = 0.5  # seconds between two looks at a signal
_SAVING = 60.0  # seconds that stopped runs have to save


def run(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry out work on the cluster at `demand.address`; "" starts a Ray of this machine, or takes the one that is connected already.

    Raises:
        TlkitError: there is no such cluster, or no node has what a run needs.
    """
    mine = not ray.is_initialized()
    if mine:
        _connect(demand.address)
    try:
        _refuse_unmeetable(demand)
        call = ray.remote(_call).options(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=_TRIES, retry_exceptions=False)
        waiting = {call.remote(each): name for name, each in work.items()}
        try:
            while waiting:
                watch()
                done, _ = ray.wait(list(waiting), timeout=_ASK)
                for ref in done:
                    yield waiting.pop(ref), _answer(ref)
        except BaseException:
            _stop(list(waiting))
            raise
    finally:
        if mine:
            ray.shutdown()


def _call(work: Work) -> str:
    return work()


def _answer(ref: object) -> str | Exception:
    try:
        return str(ray.get(ref))
    except RayTaskError as error:
        return RunFailed(f"{type(error.cause).__name__}: {error.cause}")
    except RayError as error:
        return RunFailed(f"Ray gave it up: {str(error).splitlines()[0]}", "apply again: what is saved is kept")


def _stop(refs: list[object]) -> None:
    """Interrupt tasks as Ctrl-C does, so that they save, and wait until they have."""
    for ref in refs:
        ray.cancel(ref, force=False)
    if refs:
        ray.wait(refs, num_returns=len(refs), timeout=_SAVING)


def _connect(address: str) -> None:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        _refuse_silent(address, host, int(port))
    try:
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        other = f"this is Ray {ray.__version__}; the cluster needs the same version of Ray and of Python"
        raise TlkitError(
            f"{option('address', address)}: Ray cannot connect: {str(error).splitlines()[0]}",
            other if "ersion mismatch" in str(error) else _START,
        ) from error


def _refuse_silent(address: str, host: str, port: int) -> None:
    """Raise TlkitError where nothing answers as Ray does, which itself waits for minutes. Ray's servers speak HTTP/2: RFC 9113, 3.4."""
    try:
        with socket.create_connection((host, port), timeout=_ANSWER) as asked:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            asked.sendall(_PREFACE + _SETTINGS)
            answer = asked.recv(len(_SETTINGS), socket.MSG_WAITALL)
    except OSError as error:
        raise TlkitError(f"{option('address', address)}: nothing answers there: {error.strerror or error}.", _START) from error
    if answer[3:4] != _SETTINGS[3:4]:
        raise TlkitError(f"{option('address', address)}: what answers there is no Ray cluster.", _START)


def _refuse_unmeetable(demand: Demand) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= demand.cpus and node.get("GPU", 0) >= demand.gpus for node in nodes):
        have = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise TlkitError(
            f"no node of the cluster has {demand.cpus} CPUs and {demand.gpus:g} GPUs for a run.", f"the nodes have {have}"
        )
