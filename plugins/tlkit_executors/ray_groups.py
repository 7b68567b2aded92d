"""Runs that several processes share, as tasks of one placement group each.

The rule: the processes of a run begin together and end together. Where one of them dies the others notice, end, and all begin again from
the last checkpoint.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tlkit.plugin import Demand, Work
from tlkit_executors import ray_tasks

_ENDING = 90.0  # seconds that the others have to notice that one has died


def run(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry out work, each piece in as many processes as `demand` says."""
    groups = {name: _Group(each, demand) for name, each in work.items()}
    try:
        while groups:
            watch()
            for name in list(groups):
                answer = groups[name].look()
                if answer is not None:
                    groups.pop(name).close()
                    yield name, answer
            time.sleep(ray_tasks.ASK)
    finally:
        ray_tasks.stop([ref for group in groups.values() for ref in group.refs])
        for group in groups.values():
            group.close()


@dataclass
class _Group:
    """The processes of one run.

    Attributes:
        work: Called in each.
        demand: What each needs.
        refs: Of the tasks that were started last: those that say where they are, or those that work.
    """

    work: Work
    demand: Demand
    refs: list[object] = field(default_factory=list)
    _meeting: bool = False
    _tries: int = 0
    _died: float | None = None

    def __post_init__(self) -> None:
        bundle = {"CPU": float(self.demand.cpus)} | ({"GPU": self.demand.gpus} if self.demand.gpus else {})
        self._placed: PlacementGroup = placement_group([bundle] * self.demand.processes, strategy="PACK")
        self._meet()

    def look(self) -> str | Exception | None:
        """Return what the first process returned once all have ended, and begin what follows; None until then."""
        done, others = ray.wait(self.refs, num_returns=len(self.refs), timeout=0)
        died = [ref for ref in done if _has_died(ref)]
        if others:
            if died:
                self._end(others)
            return None
        self._died = None
        if died and self._tries < ray_tasks.TRIES:
            self._tries += 1
            self._meet()
            return None
        if self._meeting and not died:
            self._work([ray.get(ref) for ref in self.refs])
            return None
        return ray_tasks.answer((died or self.refs)[0])

    def close(self) -> None:
        """Give its processors back."""
        remove_placement_group(self._placed)

    def _meet(self) -> None:
        """Ask every place where it is; Ray answers once all places are there."""
        self._meeting = True
        self.refs = [self._task(_place, number).remote() for number in range(self.demand.processes)]

    def _work(self, places: Sequence[tuple[str, int]]) -> None:
        """Start the processes, which meet where the first one is."""
        self._meeting = False
        hosts = [host for host, _ in places]
        address, port = places[0]
        self.refs = []
        for number, host in enumerate(hosts):
            names = {
                "RANK": number, "WORLD_SIZE": len(hosts), "LOCAL_RANK": hosts[:number].count(host), "LOCAL_WORLD_SIZE": hosts.count(host),
                "MASTER_ADDR": address, "MASTER_PORT": port,
            }  # fmt: skip
            told = {name: str(value) for name, value in names.items()}
            self.refs.append(self._task(_called, number).remote(self.work, told))

    def _task(self, function: Callable[..., object], number: int) -> ray.remote_function.RemoteFunction:
        where = PlacementGroupSchedulingStrategy(self._placed, placement_group_bundle_index=number)
        return ray.remote(function).options(
            num_cpus=self.demand.cpus, num_gpus=self.demand.gpus, max_retries=0, scheduling_strategy=where
        )

    def _end(self, others: list[object]) -> None:
        """End processes that do not notice that one has died: they may be waiting for it to begin."""
        now = time.monotonic()
        self._died = self._died or now
        if now - self._died > _ENDING:
            for ref in others:
                ray.cancel(ref, force=True)


def _place() -> tuple[str, int]:
    """Return the address of this node and a port that is free."""
    with socket.socket() as found:
        found.bind(("", 0))
        return ray.util.get_node_ip_address(), found.getsockname()[1]


def _called(work: Work, told: Mapping[str, str]) -> str:
    """Call work as one of several processes."""
    os.environ.update(told)
    try:
        return ray_tasks.called(work)
    finally:
        for name in told:
            os.environ.pop(name, None)


def _has_died(ref: object) -> bool:
    """Return whether a task ended because its worker or node did."""
    try:
        ray.get(ref)
    except RayTaskError as error:
        return isinstance(error.cause, ray_tasks.Moved)
    except RayError:
        return True
    return False
