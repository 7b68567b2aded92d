"""Carrying out a job: train, save after every epoch and in the middle of long ones, continue where it stopped.

The rule: every file is written whole, the checkpoint last, so a run that is stopped anywhere continues from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tlkit import files, tasks
from tlkit.engine.learner import Learner
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, OutOfMemory, RunFolderError, RunLocked, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.plans import sharing
from tlkit.plans.job_folders import is_done
from tlkit.plans.jobs import Job
from tlkit.plans.loggers import ChosenLogger
from tlkit.record import ensembles, epoch_lines, predictions, report_data, run_files, run_folder, run_lock
from tlkit.record.run_folder import RunResult
from tlkit.record.run_lock import HeldRun
from tlkit.run import beginning, busy, failures, memory, range_tests, run_result, shared_speeds
from tlkit.run import report_data as run_report
from tlkit.run.checkpoint import Checkpoint
from tlkit.run.loggers import Loggers
from tlkit.run.preparation import Prepared
from tlkit.run.save_times import SaveTimes
from tlkit.run.together import Telling


def execute(
    prepared: Prepared, runtime: Runtime, *, loggers: Sequence[ChosenLogger] = (),
    gives_up: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda lines: False,
    saves: SaveTimes | None = None, sent: Callable[[Path], None] = lambda folder: None,
) -> RunResult:  # fmt: skip
    """Train a prepared job to its end, from its last checkpoint.

    A rate that the recipe leaves to a range test is chosen first, where the plan has none yet.

    `gives_up` is asked after every saved epoch but the last, with the lines of metrics.jsonl so far, whether the run is pruned; `saves`
    is asked after every step whether to save; `sent` is called with the run's folder when it begins, after each checkpoint, and at its
    end. Of several processes this is the first, which writes; the others compute with it.

    Raises:
        RunLocked: another process is running it.
        RunFailed: the disk is full, or the loss is no longer a number; what was saved is kept.
        Interrupted: a signal came; what was saved is kept.
        WeightsError: its weights do not fit; nothing was written.
    """
    prepared, _ = range_tests.settled(prepared, runtime)
    device, observer, ranks = runtime.device, runtime.observer, runtime.ranks
    job, earlier = prepared.job, prepared.earlier
    plan = sharing.shared(prepared.plan, ranks.size, kept=None if earlier is None else earlier.batch_norm)
    prepared = replace(prepared, plan=plan)
    pieces, fresh = 1 if earlier is None else earlier.pieces, not job.folder.is_dir()
    fit = prepared.learner(runtime, pieces=pieces)
    try:
        with run_lock.locked(job.folder, note=observer.note, watch=runtime.watch) as held:
            ensembles.forget(job.folder.parent, job.folder.name)
            while True:
                try:
                    return _Writer(
                        prepared, fit, device, observer, Loggers(loggers, job, observer.note), gives_up, saves or SaveTimes(),
                        Telling(ranks, fit), sent, held, pieces,
                    ).run()  # fmt: skip
                except OutOfMemory as error:
                    if not memory.can_halve(prepared, pieces):
                        raise
                    observer.note(f"{error.problem} {memory.halved(pieces)}")
                    memory.let_go(error)
                del fit
                memory.free(device)
                pieces *= 2
                fit = prepared.learner(runtime, pieces=pieces)
    except OSError as error:
        if fresh and not (job.folder / run_folder.RESULT).is_file():
            shutil.rmtree(job.folder, ignore_errors=True)
        raise files.unwritable(job.folder, error) from error


@dataclass
class _Writer:
    """A run and its folder, held by this process."""

    prepared: Prepared
    fit: Learner
    device: torch.device
    observer: Observer
    loggers: Loggers
    gives_up: Callable[[Sequence[Mapping[str, Any]]], bool]
    saves: SaveTimes
    telling: Telling
    sent: Callable[[Path], None]
    held: HeldRun
    pieces: int = 1  # of a batch, which pass the network one after the other
    seconds: float = 0.0
    why_inexact: str = ""  # why the same digest may not give the same bits here
    scores: Epoch | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    saved: int = 0
    within: float = 0.0  # seconds since the last epoch's end, in earlier processes
    clock: float = 0.0  # the last epoch's end, or what it would be without the time between two processes
    damaged: Mapping[str, str] = field(default_factory=dict)  # files that were written before, with what is wrong
    times: dict[str, float] = field(default_factory=dict)  # seconds of what was done after the last epoch

    def __post_init__(self) -> None:
        self.checkpoint = Checkpoint(self.prepared, self.fit)
        times = {"decoding": self.prepared.decoded.seconds, "trial": self.prepared.tried}
        self.before = {kind: seconds for kind, seconds in times.items() if seconds}  # until an epoch tells of them

    @property
    def job(self) -> Job:
        """The run that is carried out."""
        return self.prepared.job

    def run(self) -> RunResult:
        done = self.job.result()
        if done is not None and is_done(self.job, done, hashes=True):
            self.telling.is_done()
            return done
        if done is not None and done.digest == self.job.digest:
            self.damaged = run_files.damaged(self.job.folder, done, hashes=True)
        self._begin()
        plan, label = self.prepared.plan, self.job.label
        lacks_files = done is not None and (done.status, done.epochs) == ("finished", self.saved)
        self.observer.judged_by(tasks.get(plan.task).judged_by(plan.select_by))
        self.observer.begin(
            label,
            epochs=self.saved if lacks_files else plan.epochs,  # one that stopped early has no more
            done=self.saved,
            steps=self.fit.steps,
            evaluations=self.fit.evaluations,
            images=plan.batch_size * plan.tables.optimizer.accumulate,
        )
        try:
            return self._train()
        except Interrupted as error:
            raise self._interrupted(error) from None
        except RunLocked:  # another process has taken the run over: nothing of it is this one's any more
            raise
        except (TlkitError, OSError, RuntimeError, MemoryError) as error:
            failure = failures.in_words(error, self.prepared, self.device)
            try:
                self._ended("failed", error=failure.problem)
            except RunLocked:
                raise
            except (OSError, TlkitError, RuntimeError, MemoryError):  # what fails now too hides nothing of why the run failed
                pass
            raise failure from error
        finally:
            self.observer.end(label)

    def _train(self) -> RunResult:
        """Train the epochs that are left, and end the run: it is finished, or pruned."""
        plan = self.prepared.plan
        self.loggers.begin(self.lines)
        self.clock = time.perf_counter() - self.within
        if self._pruned():  # a run that is continued may have been stopped before it was asked
            self.telling.is_done()
            return self._ended("pruned")
        step = busy.step_seconds(plan, self.prepared.measured)
        resumed = bool(self.saved or self.fit.progress.steps)
        communication = self.telling.begins(resumed=resumed, step=step, note=self.observer.note)
        self.saves.saved()
        before = len(self.lines)
        for epoch in self.fit.epochs(after_step=self._after_step):
            self.observer.epoch(self._save(epoch))
            self.loggers.epoch(self.lines[-1])
            pruned = self._pruned()
            self.telling.gives_up(pruned)
            if pruned:
                return self._ended("pruned")
        shared_speeds.tell(
            plan, self.lines[before:], communication=communication, step=step, device=self.device, note=self.observer.note
        )
        if self.saved < plan.epochs and self.scores is not None:
            better = f"none was better than epoch {self.scores.epoch}"
            self.observer.note(f"{self.job.label}: stopped early after {self.saved} of {plan.epochs} epochs, {better}")
        self._finish_scores()
        return self._ended("finished")

    def _finish_scores(self) -> None:
        """Evaluate the best epoch on what the plan leaves to the end, and write what reports show of it."""
        self.held.refuse_lost()
        lost = {run_folder.EVALUATION, predictions.FILE} & self.damaged.keys()
        if self.scores is not None:
            reported = self._reported
            last = () if reported else run_report.last_kernels(self.fit)
            began = time.perf_counter()
            if self.prepared.plan.tested == "end" or lost:
                self._evaluate_best(self.scores)
                self.times["test"] = time.perf_counter() - began
            else:
                self.telling.evaluates(None)
            if not reported:
                began = time.perf_counter()
                run_report.write(self.prepared, self.fit, self.checkpoint, self.scores, last=last, device=self.device)
                self.times["report"] = time.perf_counter() - began
        self.seconds += time.perf_counter() - self.clock

    def _interrupted(self, error: Interrupted) -> Interrupted:
        """Save what a signal stopped, and return what says so; a run that another process has taken over is left as it is."""
        label = self.job.label
        try:
            try:
                within = self._save_within()
            except (RuntimeError, MemoryError):  # too little memory to look for NaN, or to copy: the last whole epoch is saved
                within = False
            self._ended("interrupted")
        except RunLocked as lost:  # no error of its own: the signal stops the runs after this one too
            return error.reworded(f"{label}: {error.problem} {lost.problem}", *lost.hints)
        return error.reworded(f"{label}: {error.problem[:-1]} {self._stopped_after(within)}.", *error.hints)

    def _ended(self, status: run_result.Status, *, error: str | None = None) -> RunResult:
        """Write the weights of the best epoch and how the run ended, for which a disk without room for the weights may have room.

        Raises:
            RunLocked: another process has taken the run over; nothing is written.
        """
        self.held.refuse_lost()
        with contextlib.suppress(*((OSError, RunFolderError) if status == "failed" else ())):
            self._write_weights()
        if status in ("finished", "pruned"):
            self.checkpoint.keep_last()
        return self._result(status, error=error)

    def _after_step(self) -> None:
        if self.saves.is_due():
            self._save_within()

    def _save_within(self) -> bool:
        """Save a run in the middle of an epoch, and return whether that was done; a disk that is full ends no run.

        What is not a number is not saved: the checkpoint before it may still be of use.
        """
        self.saves.saved()
        if not self.fit.progress.steps or not self.fit.is_sound():
            return False
        self.held.refuse_lost()
        try:
            self.checkpoint.save(
                seconds=self.seconds, within=time.perf_counter() - self.clock, scores=self.scores, lines=self.lines
            )
        except OSError as error:
            self.observer.note(f"{self.job.label}: not saved within epoch {self.saved + 1}: {error.strerror or error}")
            return False
        self.sent(self.job.folder)
        return True

    def _stopped_after(self, within: bool) -> str:
        """Say where a signal stopped the run; `within` says whether the steps of an epoch are saved."""
        learns = self.prepared.plan.learns
        if learns != "steps":
            pass_ = "its head was solved" if learns == "solved" else "its images were evaluated"
            return f"after {pass_}, which is saved" if self.saved else f"before {pass_}; nothing is saved yet"
        whole = f"{self.saved} of {self.prepared.plan.epochs} epochs"
        if within:
            return f"after {whole} and {self.fit.progress.steps} of {self.fit.steps} steps of the next, which are saved"
        return f"after {whole}, which are saved" if self.saved else "in its first epoch; nothing is saved yet"

    def _pruned(self) -> bool:
        return 0 < self.saved < self.prepared.plan.epochs and self.gives_up(self.lines)

    def _begin(self) -> None:
        if self.held.before:
            self.observer.note(f"{self.job.label}: {self.held.before}; what it had saved is kept")
        begun = beginning.begin(
            self.prepared, self.fit, self.checkpoint, device=self.device, pieces=self.pieces, damaged=self.damaged,
            note=self.observer.note,
        )  # fmt: skip
        self.why_inexact = begun.why_inexact
        self.seconds, self.within, self.scores, self.lines = begun.seconds, begun.within, begun.scores, begun.lines
        self.saved = self.fit.progress.epochs
        if not begun.finished:
            self._result("running")
            if begun.said:
                self.observer.note(begun.said)

    def _save(self, epoch: Epoch) -> Epoch:
        """Write an epoch: what it changed if it is the best, its line, and last the checkpoint.

        Returns:
            The epoch, whose seconds count everything since the end of the epoch before it.
        """
        self.held.refuse_lost()
        now = time.perf_counter()
        epoch, self.clock = replace(epoch, seconds=now - self.clock), now
        epoch, self.before = replace(epoch, times={**self.before, **epoch.times}), {}
        seconds = self.seconds + epoch.seconds
        scores, lines = epoch if epoch.best else self.scores, [*self.lines, epoch.record()]
        if epoch.best:
            self.checkpoint.save_best(epoch)
        epoch_lines.write(self.job.folder, lines)
        self.checkpoint.save(seconds=seconds, within=0.0, scores=scores, lines=lines)
        self.sent(self.job.folder)
        self.saves.saved()
        self.saved, self.seconds, self.scores, self.lines = epoch.epoch, seconds, scores, lines
        return epoch

    def _write_weights(self) -> None:
        """Write the weights of the best epoch that is saved, if there is one."""
        if self.scores is not None:
            self.checkpoint.write_weights(self.scores)

    def _evaluate_best(self, best: Epoch) -> None:
        """Evaluate the best epoch on what the plan leaves to the end."""
        self.checkpoint.load_best_(best)
        self.telling.evaluates(best)
        self.scores = self.fit.evaluate_best(best)
        self.checkpoint.write_evaluation(self.scores)

    @property
    def _reported(self) -> bool:
        """Whether report.npz is there as it was written."""
        return report_data.FILE not in self.damaged and (self.job.folder / report_data.FILE).is_file()

    def _result(self, status: run_result.Status, *, error: str | None = None) -> RunResult:
        result = run_result.build(
            self.prepared, self.fit, status=status, error=error, best=self.scores, epochs=self.saved, seconds=self.seconds,
            why_inexact=self.why_inexact or self.fit.why_inexact, times=self.times,
        )  # fmt: skip
        run_folder.write(self.job.folder, result)
        if status != "running":
            self.loggers.end(result)
        self.sent(self.job.folder)
        return result
