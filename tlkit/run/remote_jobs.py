"""Runs that are carried out elsewhere: what is sent there, and what comes back.

The rule: a run is planned here, so that every worker computes in the forms that were decided for all, and nothing but text is sent. What
a run leaves is in its folder, which the workers must see; whoever carries it out again goes on where it was left.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

import tlkit
from tlkit import files, tasks
from tlkit.errors import DataError, NotCarriedOut, RunFailed, RunLocked, TlkitError
from tlkit.events import Observer
from tlkit.plans import plan_json
from tlkit.plugin import Demand, Executor, Work
from tlkit.record import remote_runs
from tlkit.record.remote_runs import RemoteRuns
from tlkit.run import executor_calls
from tlkit.run.preparation import Prepared
from tlkit.run.remote_progress import RemoteProgress
from tlkit.run.remote_worker import Answer, Call, Ended, carry_out

_SENT = ("TLKIT_CACHE", "TLKIT_CACHE_BYTES", "TLKIT_DATA", "TLKIT_WEIGHTS")  # variables that say where things lie


@dataclass(frozen=True)
class Elsewhere:
    """Carries runs out with an executor.

    Attributes:
        executor: The plugin.
        demand: What each run needs.
        called: How the recipe was applied.
        observer: Told what becomes of them.
        kept: The run folders behind an address; None where they are in a folder that all see.
    """

    executor: Executor
    demand: Demand
    called: Call
    observer: Observer
    kept: RemoteRuns | None = None

    def reached(self) -> AbstractContextManager[object]:
        """Return a context in which runs are carried out; entering it raises TlkitError where there is no cluster for them."""
        return executor_calls.reached(self.executor, self.demand)

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
        with files.writing_in(folder):
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        try:
            work = {name: work_of(name, self._sent(each, mark, device)) for name, each in waiting.items()}
            progress = RemoteProgress(self.observer.elsewhere)
            for name, each in waiting.items():
                by = tasks.get(each.plan.task).judged_by(each.plan.select_by)
                progress.add(name, each.job.folder, epochs=each.plan.epochs, by=by)

            def look() -> None:
                watch()
                progress.look()

            folders = {name: each.job.folder for name, each in waiting.items()}
            return self._gather(work, look, partial(self._ended, progress, folders))
        finally:
            mark.unlink(missing_ok=True)

    def _gather(
        self, work: Mapping[str, Work], watch: Callable[[], None], ended: Callable[[str, Ended], None]
    ) -> dict[str, RunFailed | RunLocked | None]:
        """Let the executor do the work, tell what became of it, and return what was wrong."""
        found: dict[str, RunFailed | RunLocked | None] = {
            name: NotCarriedOut(f"{name}: {self.executor.run} did not say what became of it.") for name in work
        }
        for label, given in executor_calls.done_by(self.executor, work, self.demand, watch):
            answer = Answer("failed", *_in_words(given)) if isinstance(given, Exception) else Answer(**json.loads(given))
            try:
                ended(label, answer.ended)
            except DataError as error:
                answer = Answer("failed", f"cannot be fetched: {error.problem}", ("apply again: what was sent is kept",))
            for line in answer.notes:
                self.observer.note(line if line.startswith(label) else f"{label}: {line}")
            self.observer.note(f"{label}: {answer.ended}" + (f": {answer.problem}" if answer.problem else ""))
            if answer.ended == "failed":
                kind = RunFailed if answer.own else NotCarriedOut
                found[label] = kind(f"{label}: {answer.problem.removeprefix(f'{label}: ')}", *answer.hints)
            else:
                found[label] = RunLocked(answer.problem, *answer.hints) if answer.ended == "locked" else None
        return found

    def _ended(self, progress: RemoteProgress, folders: Mapping[str, Path], name: str, how: Ended) -> None:
        """Fetch what a run left, and tell how it ended.

        Raises:
            DataError: it cannot be fetched.
        """
        try:
            if self.kept is not None:
                self.kept.fetch(remote_runs.name_of(folders[name]))
        finally:
            progress.end(name, how)

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


def _in_words(error: Exception) -> tuple[str, tuple[str, ...]]:
    return (error.problem, error.hints) if isinstance(error, TlkitError) else (f"{type(error).__name__}: {error}.", ())
