"""Executors that carry out work on this machine, as it comes out of a pickle: as a worker gets it."""

import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping

from tlkit.errors import RunFailed
from tlkit.plugin import Demand, Executor, Work


def run(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry it out in this process."""
    for name, each in work.items():
        watch()
        yield name, pickle.loads(pickle.dumps(each))()


def run_shared(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry each piece out in several processes together, forked from this one."""
    for name, each in work.items():
        watch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = [_forked(pickle.dumps(each), rank, demand.processes, port) for rank in range(demand.processes)]
        answers = []
        for child, pipe in started:
            with os.fdopen(pipe, encoding="utf-8") as reading:
                answers.append(reading.read())
            os.waitpid(child, 0)
        yield name, answers[0] or RunFailed(f"{name}: its first process died.")


def _forked(work: bytes, rank: int, size: int, port: int) -> tuple[int, int]:
    """Call work as one of several processes; return its process, and where its answer can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    code = 1
    try:
        os.write(writing, pickle.loads(work)().encode())
        code = 0
    finally:
        os._exit(code)


here = Executor(run="tlkit_toy_executor:run", summary="in this process, out of a pickle")
shared = Executor(run="tlkit_toy_executor:run_shared", shares=True, summary="in forked processes that share each run")
