"""The executor that --executor names, looked up and checked. Imports no torch."""

from __future__ import annotations

from tlkit import plugin
from tlkit.errors import PluginError, UsageError, option
from tlkit.plugin import Demand, Executor, registry


def choose(name: str, *, address: str, cpus: int, gpus: float, processes: int = 1) -> tuple[Executor, Demand] | None:
    """Return an executor and what each run needs of it; None for this process.

    Args:
        name: Of --executor.
        address: Of its cluster.
        cpus: Processors of a run.
        gpus: GPUs of a run.
        processes: Processes that share a run, and divide its processors and GPUs.

    Raises:
        TlkitError: nobody offers it, its library is not installed, no run can have so much, or nothing answers at the address.
    """
    try:
        executor = registry.get(Executor, name)
        executor.check_installed(name)
    except PluginError as error:
        raise error.at(option("executor", name)) from error
    if cpus < 1:
        raise UsageError(f"{option('cpus-per-run', str(cpus))}: a run needs a processor.", option("cpus-per-run", "1"))
    if not 0 <= gpus < float("inf"):
        raise UsageError(f"{option('gpus-per-run', str(gpus))}: is no number of GPUs.", option("gpus-per-run", "1"))
    if processes < 1:
        raise UsageError(
            f"{option('processes-per-run', str(processes))}: a run needs a process.", option("processes-per-run", "1")
        )
    if processes > 1:
        _refuse_undivided(name, executor, cpus, gpus, processes)
    if executor.run:
        demand = Demand(cpus // processes, gpus / processes, address, processes)
        if executor.ask:
            plugin.call(executor.ask, demand)
        return executor, demand
    if address:
        raise UsageError(f"{option('address', address)}: {name} has no cluster.", option("executor", "ray"))
    return None


def _refuse_undivided(name: str, executor: Executor, cpus: int, gpus: float, processes: int) -> None:
    """Refuse several processes where the executor starts one, or where processors or GPUs cannot be divided among them."""
    asked = option("processes-per-run", str(processes))
    if not executor.run:
        raise UsageError(
            f"{asked}: {name} carries out runs in this process.", f"torchrun --nproc-per-node={processes} -m tlkit apply RECIPE"
        )
    if not executor.shares:
        raise UsageError(f"{asked}: {name} starts one process for a run.", option("processes-per-run", "1"))
    if cpus % processes:
        raise UsageError(
            f"{asked}: {cpus} processors cannot be divided among {processes} processes.", option("cpus-per-run", str(processes))
        )
    if gpus % processes:
        raise UsageError(f"{asked}: each process needs a GPU of its own, or none.", option("gpus-per-run", str(processes)))
