"""An executor: carries out the runs of a recipe elsewhere, on a cluster for instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tlkit.plugin.options import check_installed

# Work to be done elsewhere: it can be pickled, is called in the main thread of a process, and returns text that goes back as it is.
Work = Callable[[], str]


@dataclass(frozen=True)
class Demand:
    """What each run needs, and where it is to be had.

    Attributes:
        cpus: Processors of a process, which uses as many threads.
        gpus: GPUs of a process; a part of one where several runs share it.
        address: Of the cluster, as the executor understands it; "" for one of this machine.
        processes: Processes that share each run. With more than one, work is called in all of them together, each with the variables that
            torchrun sets: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. What the first one returns counts.
    """

    cpus: int = 1
    gpus: float = 0.0
    address: str = ""
    processes: int = 1


@dataclass(frozen=True)
class Executor:
    """Carries out the runs of a recipe elsewhere. Calling a piece of work again goes on where it was left, so it may be tried again.

    Attributes:
        run: "module:function"(work: Mapping[str, Work], demand: Demand, watch) -> Iterator[tuple[str, str | Exception]]: calls each piece
            of work somewhere and yields its name with what it returned, or why it could not be called, as each ends. `watch()` is to be
            called every second or so; it raises where the person stops everything: then stop what runs by SIGINT, which saves it, and wait.
            "" carries out the runs in this process, one after the other.
        ask: "module:function"(demand): raises where nothing answers at the address. It is called before anything else and takes at most 15 seconds;
            "" for nothing.
        reach: "module:function"(demand), a context manager in which `run` is called. It is entered before anything is computed here, and
            raises where it cannot connect or no node has what a run needs. "" for none.
        shares: It can start several processes for a run.
        needs: Module of the library that it needs, "ray" for instance; "" for none.
        install: What to install for it, as pip takes it.
        summary: One line for `tlkit list`.
    """

    run: str
    ask: str = ""
    reach: str = ""
    shares: bool = False
    needs: str = ""
    install: str = ""
    summary: str = ""

    def check_installed(self, name: str) -> None:
        """Raise PluginError where the library that it needs is not installed.

        Args:
            name: Of the executor, in the message.
        """
        check_installed(f'executor "{name}"', self.needs, self.install)
