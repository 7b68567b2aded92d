"""Runs as tasks of Ray Core: placed where their resources are, tried again elsewhere where a worker or a node dies.

The rule: Ray only calls work that is idempotent; what was done is in the run folders, never in Ray.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ray
from ray.exceptions import RayError, RayTaskError

from tlkit.errors import Interrupted, RunFailed, TlkitError, option
from tlkit.plugin import Demand, Work
from tlkit_executors.ray_address import START, named

TRIES = 5  # after workers or nodes that died
ASK = 0.5  # seconds between two looks at a signal
SAVING = 60.0  # seconds that stopped runs have to save


class Moved(Exception):
    """A worker was told to end, as one is whose node goes away."""


@contextmanager
def reached(demand: Demand) -> Iterator[None]:
    """Connect to the cluster at `demand.address`; "" starts a Ray of this machine, or takes the one that is connected already.

    Without an address Ray itself would look for one that was used on this machine before, and wait for minutes where that is gone.

    Raises:
        TlkitError: there is no such cluster, or no node has what a run needs.
    """
    mine = not ray.is_initialized()
    if mine:
        _connect(named(demand))
    try:
        _refuse_unmeetable(demand)
        yield
    finally:
        if mine:
            ray.shutdown()


def run(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry out work on the cluster that is connected."""
    if demand.processes > 1:
        from tlkit_executors import ray_groups

        yield from ray_groups.run(work, demand, watch)
        return
    call = ray.remote(called).options(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=TRIES, retry_exceptions=[Moved])
    waiting = {call.remote(each): name for name, each in work.items()}
    try:
        while waiting:
            watch()
            done, _ = ray.wait(list(waiting), timeout=ASK)
            for ref in done:
                yield waiting.pop(ref), answer(ref)
    finally:
        stop(list(waiting))


def called(work: Work) -> str:
    """Call work in a worker.

    Raises:
        Moved: SIGTERM ended it, and it is to be called elsewhere.
    """
    try:
        return work()
    except Interrupted as error:
        if error.exit_code == Interrupted.TERMINATED:
            raise Moved(error.problem) from error
        raise


def answer(ref: object) -> str | Exception:
    """Return what a task that ended returned, or why it has no answer."""
    try:
        return str(ray.get(ref))
    except RayTaskError as error:
        return RunFailed(f"{type(error.cause).__name__}: {error.cause}")
    except RayError as error:
        return RunFailed(f"Ray gave it up: {str(error).splitlines()[0]}", "apply again: what is saved is kept")


def stop(refs: list[object]) -> None:
    """Interrupt tasks as Ctrl-C does, so that they save, and wait until they have."""
    for ref in refs:
        ray.cancel(ref, force=False)
    if refs:
        ray.wait(refs, num_returns=len(refs), timeout=SAVING)


def _connect(address: str) -> None:
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if "ersion mismatch" in str(error):
            why, hint = (
                " ".join(str(error).split()),
                f"this is Ray {ray.__version__}; the cluster needs the same version of Ray and of Python",
            )
        else:
            why, hint = str(error).splitlines()[0], START
        raise TlkitError(f"{option('address', address)}: Ray cannot connect: {why}", hint) from error


def _refuse_unmeetable(demand: Demand) -> None:
    """Refuse what no node has; the processes of a run may be on several nodes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = sum(_fitting(node, demand) for node in nodes)
    if places >= demand.processes:
        return
    have = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    asked = f"{demand.cpus} CPUs and {demand.gpus:g} GPUs"
    if demand.processes == 1:
        raise TlkitError(f"no node of the cluster has {asked} for a run.", f"the nodes have {have}")
    raise TlkitError(
        f"the cluster has no room for the {demand.processes} processes of a run, each with {asked}.", f"the nodes have {have}"
    )


def _fitting(node: Mapping[str, float], demand: Demand) -> int:
    """Return how many processes a node has room for."""
    cpus = node.get("CPU", 0) // demand.cpus
    return int(min(cpus, node.get("GPU", 0) // demand.gpus) if demand.gpus else cpus)
