"""What a worker does with a run that another process planned: it trains exactly that, and says what became of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

import tlkit
from tlkit import machine
from tlkit.engine.images import being_decoded
from tlkit.engine.ranks.ranks import Group
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, OutOfTime, RunFailed, RunLocked, TlkitError, option
from tlkit.events import Observer
from tlkit.plans import jobs, loggers, plan_json, resolve
from tlkit.plans.job_folders import finished
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.record import remote_runs, remote_sending
from tlkit.record.remote_runs import RemoteRuns
from tlkit.run import busy, execution, executor, joining, planned_runs, together, torch_settings
from tlkit.run.save_times import SaveTimes
from tlkit.run.signals import watching
from tlkit.sources.places import Places


@dataclass(frozen=True)
class Call:
    """How a recipe was applied, as a worker needs to know it.

    Attributes:
        recipe: Its file; "" where the plan alone says what is trained, as for a trial of advice.
        settings: Of --set.
        runs: Folder of the run folders, or its address.
        data: Folder of the images; None where the recipe names it.
        device: Of --device.
        offline: Forbid downloads.
        graph: As `Runtime.graph`.
        log: Loggers of --log.
        checkpoint_every: Seconds.
    """

    recipe: str
    settings: tuple[str, ...]
    runs: str
    data: str | None
    device: str
    offline: bool
    graph: bool
    log: tuple[str, ...]
    checkpoint_every: float


Ended = Literal["finished", "stopped", "failed", "locked"]


@dataclass(frozen=True)
class Answer:
    """What became of a run.

    Attributes:
        ended: How.
        problem: What was wrong, and
        hints: What would be right.
        notes: What was told meanwhile.
        own: A run failed by its own fault, in training.
    """

    ended: Ended
    problem: str = ""
    hints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    own: bool = False


def carry_out(
    sent: str, gives_up: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda _: False, deadline: Callable[[], None] = lambda: None
) -> str:  # fmt: skip
    """Carry out a run in this process, which is told of it by another; return what became of it.

    Args:
        sent: What was told.
        gives_up: As `execution.execute` asks it.
        deadline: Called between batches; raises OutOfTime to stop a run, which is kept within its epoch. Of one that several processes
            share only between steps, where they stop together.
    """
    spec: dict[str, Any] = json.loads(sent)
    os.environ.update(spec["environment"])
    notes = _Notes()
    try:
        _carry_out(spec, gives_up, deadline, notes)
        answer = Answer("finished")
    except OutOfTime as error:
        answer = Answer("stopped", error.problem)
    except RunLocked as error:
        answer = Answer("locked", error.problem, error.hints)
    except Interrupted:
        raise
    except TlkitError as error:
        own = isinstance(error, RunFailed) and notes.trains and not isinstance(error.__cause__, OSError)
        answer = Answer("failed", error.problem, error.hints, own=own)
    return json.dumps(asdict(replace(answer, notes=tuple(notes.told))))


class _Notes(Observer):
    """Keeps what is told, until it is told where the run was sent from, and whether training has begun."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.trains = False

    def begin(self, label: str, **_: int) -> None:
        """Note that training begins."""
        self.trains = True

    def note(self, text: str) -> None:
        """Keep a line."""
        self.told.append(text)


def _carry_out(
    spec: Mapping[str, Any], gives_up: Callable[[Sequence[Mapping[str, Any]]], bool], deadline: Callable[[], None], observer: Observer
) -> None:  # fmt: skip
    if spec["version"] != tlkit.__version__:
        raise RunFailed(f"a worker has tlkit {tlkit.__version__}, and this is tlkit {spec['version']}.", "install the same")
    called, plan = Call(**spec["called"]), plan_json.from_json(spec["plan"])
    kept = remote_runs.of(called.runs)
    if kept is None and not Path(spec["mark"]).exists():
        raise RunFailed(
            f"{Path(spec['mark']).parent}: a worker does not see this folder.",
            f"it has to be on a file system that all workers share: {option('runs', 'DIR')}",
        )
    before = torch.get_num_threads()
    torch.set_num_threads(spec["threads"])
    try:
        device = executor.device_of(called.device)
        if device.type != spec["device"]:
            raise RunFailed(
                f"a worker computes on {device.type}, and the run is planned for {spec['device']}.",
                f"apply the recipe where the same kind of device is, with {option('gpus-per-run', '1')} for GPUs, or with "
                + option("device", "cpu"),
            )
        with (
            chdir(spec["working"]), joining.joined_where_started() as ranks, machine.kept_blocks, torch_settings.applied(device),
            being_decoded.kept(),
        ):  # fmt: skip
            job, logged = joining.found_alike(
                ranks, partial(_job, called, plan, spec, kept), lambda found: joining.facts_of((found[0],))
            )
            runtime = Runtime(device, observer, graph=called.graph, ranks=ranks)
            if ranks.rank:
                together.follow([job], runtime, verify=False)
                return
            being_decoded.tell_left(observer.note)
            done = finished([job])
            together.tell_jobs(ranks, [job], [] if done else [job])
            if not done:
                _train(job, plan, called, logged, gives_up, deadline, runtime, kept=kept)
            if kept is not None:
                kept.send(remote_runs.name_of(job.folder))
                kept.holders.end()
    finally:
        torch.set_num_threads(before)


def _train(
    job: Job, plan: Plan, called: Call, logged: Sequence[loggers.ChosenLogger],
    gives_up: Callable[[Sequence[Mapping[str, Any]]], bool], deadline: Callable[[], None], runtime: Runtime, *,
    kept: RemoteRuns | None,
) -> None:  # fmt: skip
    ranks = runtime.ranks
    with watching() as signals:

        def watch() -> None:
            signals()
            if ranks.size == 1:
                deadline()

        stopping = replace(ranks, deadline=deadline) if isinstance(ranks, Group) else ranks
        runtime = replace(runtime, watch=watch, ranks=stopping)
        prepared = planned_runs.prepare_as_planned(job, plan, runtime)
        execution.execute(
            prepared, busy.watching(prepared, runtime), loggers=logged, gives_up=gives_up,
            saves=SaveTimes(called.checkpoint_every, signals), sent=remote_sending.sending(kept, runtime.observer.note),
        )  # fmt: skip


def _job(
    called: Call, plan: Plan, spec: Mapping[str, Any], kept: RemoteRuns | None
) -> tuple[Job, tuple[loggers.ChosenLogger, ...]]:
    """Find the run here, and make sure that it is the one that was meant."""
    where = called.recipe or plan.recipe
    base = Path(called.recipe).parent if called.recipe else Path(plan.folder)
    places = Places(recipe=base, data=None if called.data is None else Path(called.data), offline=called.offline)
    logged = resolve.load(Path(called.recipe), called.settings, places)[0].loggers if called.recipe else ()
    arm = resolve.resolve_arm(  # a trial's is in no recipe
        plan.tables, name=plan.arm, recipe=plan.recipe, places=places, where=where, folds=plan.folds
    )
    runs = Path(called.runs) if kept is None else kept.folder
    job = jobs.plan_job(arm, spec["seed"], places, runs=runs, where=where, fold=spec["fold"])
    if kept is not None:  # by every process: they may be on several machines
        kept.fetch(remote_runs.name_of(job.folder))
    if job.digest != spec["digest"]:
        raise RunFailed(
            f"{job.label}: a worker sees other images or other weights.",
            "data and weights have to be the same files for all of them",
        )
    return job, loggers.ready(logged, called.log, where=where)
