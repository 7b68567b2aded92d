"""The executor that --executor names, looked up and checked. Imports no torch."""

from __future__ import annotations

from tlkit.errors import PluginError, TlkitError, option
from tlkit.plugin import Demand, Executor, registry

LOCAL = "local"


def choose(name: str, *, address: str, cpus: int, gpus: float) -> tuple[Executor, Demand] | None:
    """Return an executor and what each run needs of it; None for this process.

    Args:
        name: Of --executor.
        address: Of its cluster.
        cpus: Processors of a run.
        gpus: GPUs of a run.

    Raises:
        TlkitError: nobody offers it, its library is not installed, or no run can have so much.
    """
    try:
        executor = registry.get(Executor, name)
        executor.check_installed(name)
    except PluginError as error:
        raise TlkitError(f"{option('executor', name)}: {error.problem}", *error.hints) from error
    if cpus < 1:
        raise TlkitError(f"{option('cpus-per-run', str(cpus))}: a run needs a processor.", option("cpus-per-run", "1"))
    if not 0 <= gpus < float("inf"):
        raise TlkitError(f"{option('gpus-per-run', str(gpus))}: is no number of GPUs.", option("gpus-per-run", "1"))
    if executor.run:
        return executor, Demand(cpus, gpus, address)
    if address:
        raise TlkitError(f"{option('address', address)}: {name} has no cluster.", option("executor", "ray"))
    return None
