"""Runs that are carried out elsewhere: what is sent there, what happens there, and what comes back.

The rule: a run is planned here, so that every worker computes in the forms that were decided for all, and nothing but text is sent. What
a run leaves is in its folder, which the workers must see; whoever carries it out again goes on where it was left.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, chdir, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

import tlkit
from tlkit import files, machine
from tlkit.engine.ranks.ranks import Ranks
from tlkit.errors import Interrupted, PluginError, RunFailed, RunLocked, TlkitError, option
from tlkit.events import Observer
from tlkit.plans import jobs, loggers, plan_json, resolve
from tlkit.plans.job_folders import finished
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plugin import Demand, Executor, Work, call
from tlkit.run import busy, execution, executor, joining, planned_runs, together, torch_settings
from tlkit.run.preparation import Prepared
from tlkit.run.remote_progress import RemoteProgress
from tlkit.run.save_times import SaveTimes
from tlkit.run.signals import watching
from tlkit.sources.places import Places

_SENT = ("TLKIT_CACHE", "TLKIT_CACHE_BYTES", "TLKIT_DATA")  # variables that say where things lie


@dataclass(frozen=True)
class Call:
    """How a recipe was applied, as a worker needs to know it.

    Attributes:
        recipe: Its file.
        settings: Of --set.
        runs: Folder of the run folders.
        data: Folder of the images; None where the recipe names it.
        device: Of --device.
        offline: Forbid downloads.
        graph: Capture the training step where the device can.
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


@dataclass(frozen=True)
class _Answer:
    """What became of a run.

    Attributes:
        ended: How.
        problem: What was wrong, and
        hints: What would be right.
    """

    ended: Literal["finished", "failed", "locked"]
    problem: str = ""
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Elsewhere:
    """Carries runs out with an executor.

    Attributes:
        executor: The plugin.
        demand: What each run needs.
        called: How the recipe was applied.
        observer: Told what becomes of them.
    """

    executor: Executor
    demand: Demand
    called: Call
    observer: Observer

    def reached(self) -> AbstractContextManager[object]:
        """Return a context in which runs are carried out; entering it raises TlkitError where there is no cluster for them."""
        return reached(self.executor, self.demand)

    def carry_out(
        self, waiting: Sequence[Prepared], watch: Callable[[], None], device: torch.device
    ) -> list[RunFailed | RunLocked]:
        """Carry out runs that are prepared for a device like this one; one that fails does not stop the others.

        Returns:
            The failures, and then the runs that another process is running.

        Raises:
            TlkitError: the executor cannot begin.
            Interrupted: a signal came; what was saved is kept.
        """
        found = self.outcomes({each.job.label: each for each in waiting}, watch, device)
        problems = [each for each in found.values() if each is not None]
        return sorted(problems, key=lambda each: isinstance(each, RunLocked))

    def outcomes(
        self, waiting: Mapping[str, Prepared], watch: Callable[[], None], device: torch.device,
        work_of: Callable[[str, str], Work] = lambda _, sent: partial(carry_out, sent),
    ) -> dict[str, RunFailed | RunLocked | None]:  # fmt: skip
        """Carry out runs that are prepared for a device like this one, and return what was wrong with each.

        Args:
            waiting: By the names under which they are told of.
            watch: Called all the time; raises to stop.
            device: That they are prepared for.
            work_of: Gives the work of a run, of its name and of what is sent.

        Raises:
            TlkitError: the executor cannot begin.
            Interrupted: a signal came; what was saved is kept.
        """
        folder = next(iter(waiting.values())).job.folder.parent.absolute()
        mark = folder / f".seen-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError as error:
            raise files.unwritable(folder, error) from error
        try:
            work = {name: work_of(name, self._sent(each, mark, device)) for name, each in waiting.items()}
            progress = RemoteProgress(self.observer.elsewhere)
            for name, each in waiting.items():
                progress.add(name, each.job.folder, epochs=each.plan.epochs)

            def look() -> None:
                watch()
                progress.look()

            return self._gather(work, look, progress)
        finally:
            mark.unlink(missing_ok=True)

    def _gather(
        self, work: Mapping[str, Work], watch: Callable[[], None], progress: RemoteProgress
    ) -> dict[str, RunFailed | RunLocked | None]:
        """Let the executor do the work, tell what became of it, and return what was wrong."""
        found: dict[str, RunFailed | RunLocked | None] = {
            name: RunFailed(f"{name}: {self.executor.run} did not say what became of it.") for name in work
        }
        for label, given in done_by(self.executor, work, self.demand, watch):
            answer = _Answer("failed", *_in_words(given)) if isinstance(given, Exception) else _Answer(**json.loads(given))
            progress.end(label, answer.ended)
            self.observer.note(f"{label}: {answer.ended}" + (f": {answer.problem}" if answer.problem else ""))
            if answer.ended == "failed":
                found[label] = RunFailed(f"{label}: {answer.problem.removeprefix(f'{label}: ')}", *answer.hints)
            else:
                found[label] = RunLocked(answer.problem, *answer.hints) if answer.ended == "locked" else None
        return found

    def _sent(self, prepared: Prepared, mark: Path, device: torch.device) -> str:
        job = prepared.job
        return json.dumps({
            "version": tlkit.__version__, "called": asdict(self.called), "plan": plan_json.to_json(prepared.plan), "digest": job.digest,
            "seed": job.seed, "fold": job.fold, "mark": str(mark), "environment": environment(), "threads": self.demand.cpus, "device": device.type,
            "working": str(Path.cwd()),
        })  # fmt: skip


def environment() -> dict[str, str]:
    """Return the variables that say where things lie, which a worker needs as they are here."""
    return {name: os.environ[name] for name in _SENT if name in os.environ}


@contextmanager
def reached(executor: Executor, demand: Demand) -> Iterator[None]:
    """Hold the connection to an executor's cluster.

    Raises:
        TlkitError: it does not answer, or no node has what is asked for.
    """
    if not executor.reach:
        yield
        return
    try:
        entered = call(executor.reach, demand)
        if not isinstance(entered, AbstractContextManager):
            raise PluginError(f"{executor.reach}: gave {type(entered).__name__}, not a context manager.")
        entered.__enter__()
    except TlkitError:
        raise
    except Exception as error:
        raise PluginError(f"{executor.reach}: failed: {type(error).__name__}: {error}.") from error
    try:
        yield
    finally:
        entered.__exit__(None, None, None)


def done_by(
    executor: Executor, work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]
) -> Iterator[tuple[str, str | Exception]]:
    """Let an executor do work; yield what it gives, as long as it is a name and what became of it.

    Raises:
        PluginError: it is something else, or the executor raised.
    """
    try:
        given = call(executor.run, work, demand, watch)
        if not isinstance(given, Iterable):
            raise PluginError(f"{executor.run}: gave {type(given).__name__}, not names with what became of them.")
        with closing(given) if isinstance(given, Generator) else nullcontext():
            for each in given:
                match each:
                    case (str() as label, (str() | Exception()) as answer) if label in work:
                        yield label, answer
                    case _:
                        raise PluginError(f"{executor.run}: gave {each!r}, not the name of a run and what became of it.")
    except TlkitError:
        raise
    except Exception as error:
        raise PluginError(f"{executor.run}: failed: {type(error).__name__}: {error}.") from error


def carry_out(sent: str, gives_up: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda _: False) -> str:
    """Carry out a run in this process, which is told of it by another; return what became of it.

    Args:
        sent: What was told.
        gives_up: As `execution.execute` asks it.
    """
    spec: dict[str, Any] = json.loads(sent)
    os.environ.update(spec["environment"])
    try:
        _carry_out(spec, gives_up)
        answer = _Answer("finished")
    except RunLocked as error:
        answer = _Answer("locked", error.problem, error.hints)
    except Interrupted:
        raise
    except TlkitError as error:
        answer = _Answer("failed", error.problem, error.hints)
    return json.dumps(asdict(answer))


def _carry_out(spec: Mapping[str, Any], gives_up: Callable[[Sequence[Mapping[str, Any]]], bool]) -> None:
    if spec["version"] != tlkit.__version__:
        raise RunFailed(f"a worker has tlkit {tlkit.__version__}, and this is tlkit {spec['version']}.", "install the same")
    called, plan = Call(**spec["called"]), plan_json.from_json(spec["plan"])
    if not Path(spec["mark"]).exists():
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
            chdir(spec["working"]), joining.joined_where_started() as ranks, machine.kept_blocks, torch_settings.applied(device)
        ):  # fmt: skip
            job, logged = joining.found_alike(
                ranks, partial(_job, called, plan, spec), lambda found: joining.facts_of((found[0],))
            )
            if ranks.rank:
                together.follow([job], ranks=ranks, device=device, graph=called.graph, verify=False)
                return
            done = finished([job])
            together.tell_jobs(ranks, [job], [] if done else [job])
            if not done:
                _train(job, plan, called, logged, gives_up, device=device, ranks=ranks)
    finally:
        torch.set_num_threads(before)


def _train(
    job: Job, plan: Plan, called: Call, logged: Sequence[loggers.ChosenLogger],
    gives_up: Callable[[Sequence[Mapping[str, Any]]], bool], *, device: torch.device, ranks: Ranks,
) -> None:  # fmt: skip
    observer = Observer()
    with watching() as watch:
        prepared = planned_runs.prepare_as_planned(job, plan, device=device, observer=observer, watch=watch, ranks=ranks)
        looking = busy.watching(prepared, watch, device=device, say=observer.note)
        execution.execute(
            prepared, device=device, observer=observer, watch=looking, graph=called.graph, loggers=logged,
            gives_up=gives_up, saves=SaveTimes(called.checkpoint_every, watch), ranks=ranks,
        )  # fmt: skip


def _job(called: Call, plan: Plan, spec: Mapping[str, Any]) -> tuple[Job, tuple[loggers.ChosenLogger, ...]]:
    """Find the run here, and make sure that it is the one that was meant."""
    recipe = Path(called.recipe)
    places = Places(recipe=recipe.parent, data=None if called.data is None else Path(called.data), offline=called.offline)
    read, _ = resolve.load(recipe, called.settings, places)
    arm = resolve.resolve_arm(  # a trial's is in no recipe
        plan.tables, name=plan.arm, recipe=plan.recipe, places=places, where=called.recipe, folds=plan.folds
    )
    job = jobs.plan_job(arm, spec["seed"], places, runs=Path(called.runs), where=called.recipe, fold=spec["fold"])
    if job.digest != spec["digest"]:
        raise RunFailed(
            f"{job.label}: a worker sees other images or other weights.",
            "data and weights have to be the same files for all of them",
        )
    return job, loggers.ready(read.loggers, called.log, where=called.recipe)


def _in_words(error: Exception) -> tuple[str, tuple[str, ...]]:
    return (error.problem, error.hints) if isinstance(error, TlkitError) else (f"{type(error).__name__}: {error}.", ())
