"""Join the processes that torchrun started as one run, give each its device, and refuse processes that see different things.

Source: https://docs.pytorch.org/docs/stable/distributed.html
"""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

import tlkit
from tlkit import machine
from tlkit.engine.ranks.ranks import ALONE, Group, Ranks
from tlkit.errors import RankLost, SaidElsewhere, TlkitError, option, reason
from tlkit.machine import Started
from tlkit.plans.jobs import Job

Found = TypeVar("Found")

_PATIENCE = timedelta(minutes=30)  # for a process that measures, decodes or writes while the others wait
_FAREWELL = timedelta(seconds=20)  # until a process that fails leaves the first one, which writes what is known
_HEARING = timedelta(seconds=2)  # until the others know what the first one says: it may hold the store that they ask
_SAID, _HEARD = "tlkit/said", "tlkit/heard"  # what ended the first process, in words; who knows


@contextmanager
def joined(started: Started) -> Iterator[Ranks]:
    """Join the other processes, and leave them at the end.

    Raises:
        TlkitError: they cannot be reached.
        RankLost: another process ended meanwhile.
        SaidElsewhere: this one ended by an error that the first one tells.
    """
    if not dist.is_available():
        raise TlkitError(
            "this torch is built without torch.distributed, so a run has one process.", "start it without torchrun"
        )
    # Imported later, as torch's own compiler does, it keeps the group as a default argument. The group's threads then live on until the process
    # ends, and now and then abort it: "terminate called without an active exception".
    importlib.import_module("torch.distributed.nn.functional")
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, rank, size = next(iter(rendezvous("env://", started.rank, started.size, timeout=_PATIENCE)))
        # torchrun keeps the store when it starts all processes again, with the addresses of those that ended
        store = PrefixStore(f"tlkit/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise TlkitError(
            f"process {started.rank} of {started.size} cannot join the others at {where}.",
            "MASTER_ADDR and MASTER_PORT name the machine of process 0 and a free port there; torchrun sets both",
            f"torch says: {reason(error)}",
        ) from error
    said = ""
    try:
        yield Group(started.rank, started.size, started.local_rank, started.local_size)
    except RankLost as error:
        raise RankLost(f"process {started.rank} of {started.size}: {error.problem}", *error.hints) from error
    except BaseException as error:
        if started.rank == 0:
            said = str(error)
        elif _said(store, started.rank) == str(error) and isinstance(error, TlkitError):
            raise SaidElsewhere(error.exit_code) from error
        raise
    finally:
        if started.rank == 0:
            _say(store, said, started.size)
        with suppress(RuntimeError):
            dist.destroy_process_group()


def joined_where_started() -> AbstractContextManager[Ranks]:
    """Join the processes that this one was started with; where it is alone, that is the group."""
    started = machine.started_together()
    return nullcontext(ALONE) if started is None else joined(started)


def _say(store: PrefixStore, said: str, size: int) -> None:
    """Tell the others how the first process ends, and where that is an error wait until those that failed too know it."""
    with suppress(RuntimeError):
        store.set(_SAID, said)
        if said:
            store.wait([f"{_HEARD}/{rank}" for rank in range(1, size)], _HEARING)


def _said(store: PrefixStore, rank: int) -> str:
    """Return what ended the first process, once it has ended: torchrun ends the others as soon as one fails."""
    with suppress(RuntimeError):
        store.wait([_SAID], _FAREWELL)
        said: str = store.get(_SAID).decode()
        store.set(f"{_HEARD}/{rank}", "1")
        return said
    return ""


def device_name(name: str, started: Started, ranks: Ranks) -> str:
    """Return the name of the device that a process uses, from --device.

    Raises:
        TlkitError: there are fewer GPUs than processes here, or one GPU is named for all.
    """
    count = torch.cuda.device_count()
    # A launcher may let each process see a GPU of its own alone, as srun --gpus-per-task=1 does, and a part of one by MIG is seen alone.
    seen = ranks.texts(_only_gpu() if count == 1 else "")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if ":" in name:
        raise TlkitError(
            f"{option('device', name)}: is one GPU for {started.local_size} processes.",
            f"{option('device', 'cuda')} gives each process its own; CUDA_VISIBLE_DEVICES chooses among them",
        )
    if count == 1 and seen.count(seen[ranks.rank]) == 1:
        return "cuda:0"
    if started.local_size > count and count:
        raise TlkitError(
            f"{started.local_size} processes were started here, and there {'is 1 GPU' if count == 1 else f'are {count} GPUs'}.",
            f"torchrun --nproc-per-node={count}",
        )
    return f"cuda:{started.local_rank}"


def _only_gpu() -> str:
    """Return what tells the one GPU that this process sees from those of others; of a part of one the environment names the part."""
    return f"{platform.node()} {torch.cuda.get_device_properties(0).uuid} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}"


def found_alike(ranks: Ranks, find: Callable[[], Found], facts: Callable[[Found], Mapping[str, str]]) -> Found:
    """Return what a function finds, which every process calls, the first one before the others: they may find what it downloaded.

    Args:
        ranks: The processes.
        find: Reads a recipe, finds its data and weights.
        facts: What must be the same on all processes, by what it is.

    Raises:
        TlkitError: on the first process: it cannot be found, or another process finds something else.
        SaidElsewhere: on the others, then.
    """
    found: Found | None = None
    error: TlkitError | None = None
    if ranks.rank == 0:
        found, error = _attempted(find)
    known: dict[str, str] = {} if found is None else dict(facts(found))
    if not json.loads(ranks.told(json.dumps(error is None))):
        raise error or SaidElsewhere()
    first = json.loads(ranks.told(json.dumps(known)))
    problem = ""
    if ranks.rank:
        found, error = _attempted(find)
        problem = _difference(first, dict(facts(found))) if found is not None else str(error)
    problems = {rank: text for rank, text in enumerate(ranks.texts(problem)) if text}
    hosts = ranks.texts(platform.node())
    if problems and ranks.rank:
        raise SaidElsewhere
    for rank, text in problems.items():
        line, *hints = text.splitlines()
        raise TlkitError(f"process {rank} of {ranks.size}, on {hosts[rank]}: {line}", *(hint.strip() for hint in hints))
    assert found is not None  # as there is no problem
    return found


def facts_of(jobs: tuple[Job, ...]) -> dict[str, str]:
    """Return what all processes must agree on: versions, and of every run its data, its weights and its settings."""
    found = {"version of tlkit": tlkit.__version__, "version of torch": torch.__version__}
    for job in jobs:
        found |= {f"{job.label}: {name}": value for name, value in job.inputs.items()}
        found[f"{job.label}: recipe"] = job.digest
    return found


def _attempted(find: Callable[[], Found]) -> tuple[Found | None, TlkitError | None]:
    try:
        return find(), None
    except TlkitError as error:
        return None, error


def _difference(first: Mapping[str, str], mine: Mapping[str, str]) -> str:
    """Return in words what is the first thing that differs; "" where nothing does."""
    for name in dict.fromkeys([*first, *mine]):
        if first.get(name) != mine.get(name):
            return "\n".join(
                [
                    f"it sees something else than process 0: {name}.",
                    f"process 0 has {_short(first.get(name))}, it has {_short(mine.get(name))}",
                    "all processes need the same recipe, data, weights and versions",
                ]
            )
    return ""


def _short(value: str | None) -> str:
    return "none" if value is None else value[:16]
