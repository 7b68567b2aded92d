"""Carry out the trials of a search as ordinary runs of its recipe, one after the other or with an executor.

The rule: a run that is there is never trained again. A trial with the settings of an earlier one takes its value, and a trial whose run
is finished takes that run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from pydantic import ValidationError

from tlkit import files
from tlkit.engine.images.library import Library
from tlkit.engine.images.residency import Residency
from tlkit.engine.runtime import Runtime
from tlkit.errors import (
    DataError,
    Diverged,
    Interrupted,
    NotCarriedOut,
    RecipeError,
    RunFailed,
    RunFolderError,
    RunLocked,
    StoreError,
    TlkitError,
)
from tlkit.plans import job_folders
from tlkit.plans.jobs import Job
from tlkit.plans.search_jobs import Searching
from tlkit.recipe import messages
from tlkit.recipe.digest import digest_of
from tlkit.recipe.messages import shown
from tlkit.record import run_folder, run_lock, search_record
from tlkit.record.run_folder import RunResult
from tlkit.record.search_record import SearchRecord, TrialRecord
from tlkit.run import busy, execution, executor, memory, range_tests, shared_choices, shared_pictures
from tlkit.run.preparation import Prepared
from tlkit.run.remote_jobs import Elsewhere
from tlkit.run.save_times import SaveTimes
from tlkit.run.setup import Setup
from tlkit.run.signals import Watch, watching
from tlkit.search import following, remote_trials
from tlkit.search.study import Asked, Study
from tlkit.search.trial_records import TrialRecords


def search(searching: Searching, setup: Setup, place: Elsewhere | None = None) -> list[RunFailed | RunLocked]:
    """Carry out the trials that are missing, in this process or in `place`, and then train the best with every seed.

    Of several processes this is the first: it alone asks for values, and writes; the others compute every run with it.

    Returns:
        Runs of the best trial that failed or that another process is running, as `executor.train`.

    Raises:
        RunLocked: another process is searching.
        RunFolderError: the journal is damaged.
        RunFailed: nothing can be written.
        Interrupted: a signal came; finished trials are kept.
    """
    folder, observer, ranks = searching.folder, setup.runtime.observer, setup.runtime.ranks
    files.make_folder(folder)
    lock = run_lock.locked(folder, name=search_record.LOCK, doing="searching here", note=observer.note)
    with files.writing_in(folder), lock:
        record = _Trials(searching, setup, place).run()
    best = searching.best_jobs(record)
    if job_folders.finished(best):
        following.tell_best(ranks, None)
        return []
    observer.note(f"search: trial {record.best} is the best of {len(record.trials)}; it is trained with every seed")
    following.tell_best(ranks, record)
    return executor.train(best, setup, elsewhere=None if place is None else place.carry_out)


@dataclass
class _Trials:
    """A search that this process carries out."""

    searching: Searching
    setup: Setup
    place: Elsewhere | None = None
    libraries: dict[int, Library] = field(default_factory=dict)
    residency: Residency = field(default_factory=Residency)

    def __post_init__(self) -> None:
        self.study = Study(self.searching.folder / search_record.JOURNAL, self.searching.study, self.searching.plan)
        self.ranks = self.setup.runtime.ranks
        self.records = TrialRecords(self.searching, self.study, self.setup.runtime.observer)
        self.done: dict[str, RunResult | TlkitError] = {}  # of runs that were carried out elsewhere, by their folders

    def run(self) -> SearchRecord:
        record = self.records.keep()
        with watching() as watch:
            while not self.searching.has_enough(record):
                if self.ranks.size == 1:  # else they are asked together, when a trial begins
                    watch()
                asked = self.study.ask()
                record = self.records.keep(exhausted=not asked)
                if self.place is not None:
                    self._carry_out_elsewhere(asked, self.place, watch)
                for each in asked:
                    self.records.tell(each, self._carry_out(each, watch))
                    record = self.records.keep()
        return record

    def _carry_out_elsewhere(self, asked: Sequence[Asked], place: Elsewhere, watch: Watch) -> None:
        """Let an executor train what trials that begin together lack; what became of it is known then."""
        known = {each.folder for each in self.records.known()}
        waiting: dict[str, Prepared] = {}
        told: dict[str, str] = {}
        for each in asked:
            try:
                job = self.searching.job(each.values)
            except (RecipeError, ValidationError):  # it is told when the trial's turn comes
                continue
            if job.folder.name in known or job_folders.finished([job]):
                continue
            known.add(job.folder.name)
            try:
                prepared = self._prepared(job, replace(self.setup.runtime, watch=watch))
            except TlkitError as error:
                if isinstance(error, Interrupted):
                    raise
                self.done[job.folder.name] = error
                continue
            prepared.start.release()
            name = f"trial {each.number}"
            waiting[name] = prepared
            told[name] = remote_trials.told(
                each, journal=self.searching.folder / search_record.JOURNAL, study=self.searching.study
            )
        if not waiting:
            return
        found = place.outcomes(
            waiting, watch, self.setup.runtime.device, lambda name, sent: partial(remote_trials.carry_out, sent, told[name])
        )
        for name, prepared in waiting.items():
            result = prepared.job.result()
            assert result is not None or found[name] is not None  # a run that did not fail has one
            self.done[prepared.job.folder.name] = found[name] or cast(RunResult, result)

    def _carry_out(self, asked: Asked, watch: Watch) -> TrialRecord:
        """Train a trial, or find its run."""
        observer, plan = self.setup.runtime.observer, self.searching.plan
        observer.note(f"trial {asked.number} of {plan.most}: {words(asked)}")
        try:
            job = self.searching.job(asked.values)
        except (RecipeError, ValidationError) as error:
            return TrialRecord(number=asked.number, status="failed", error=messages.first(error))
        earlier = next((each for each in self.records.known() if each.folder == job.folder.name), None)
        if earlier is not None:
            return earlier.model_copy(update={"number": asked.number, "same_as": earlier.number, "seconds": 0.0})
        result = job.result()
        if result is not None and job_folders.finished([job]):
            return self.records.of_run(asked, job, result)
        try:
            return self.records.of_run(asked, job, self._train(asked, job, watch))
        except TlkitError as error:
            if asked.number == 0 or not _is_of_values(error) or self._is_of_one_process(error):
                raise
            memory.let_go(error)
            return TrialRecord(number=asked.number, status="failed", folder=job.folder.name, error=error.problem)
        finally:
            memory.free(self.setup.runtime.device)

    def _is_of_one_process(self, error: TlkitError) -> bool:
        """Return whether a run failed where the others may be anywhere in it."""
        return self.ranks.size > 1 and isinstance(error, RunFailed) and not isinstance(error, Diverged)

    def _prepared(self, job: Job, runtime: Runtime) -> Prepared:
        setup = self.setup
        prepared = shared_pictures.prepare(
            job,
            self.libraries,
            runtime,
            earlier=run_folder.earlier_choices(job.folder),
            verify=setup.verify,
            residency=self.residency,
        )
        own = digest_of(job.resolved.arm, {})
        (prepared,) = shared_choices.share(
            [prepared], {*setup.settings, own}, self.searching.folder, runtime, evaluation=setup.evaluation
        )
        return prepared

    def _train(self, asked: Asked, job: Job, watch: Watch) -> RunResult:
        done = self.done.pop(job.folder.name, None)
        if isinstance(done, TlkitError):
            raise done
        if done is not None:
            return done
        setup, runtime = self.setup, replace(self.setup.runtime, watch=watch)
        following.tell_trial(self.ranks, asked.values, watch)
        with following.telling_whether_prepared(self.ranks):
            prepared = self._prepared(job, runtime)
            runtime = busy.watching(prepared, runtime)
            prepared, _ = range_tests.settled(prepared, runtime)
        return execution.execute(
            prepared,
            runtime,
            loggers=setup.loggers,
            gives_up=partial(self.study.behind, asked.number),
            saves=SaveTimes(setup.checkpoint_every, watch),
            sent=setup.sent,
        )


def _is_of_values(error: TlkitError) -> bool:
    """Return whether an error may come from a trial's values; a full disk or images that are gone end the search."""
    if isinstance(error, RunFailed):
        return not isinstance(error, NotCarriedOut) and not isinstance(error.__cause__, OSError)
    return not isinstance(error, Interrupted | RunLocked | DataError | RunFolderError | StoreError)


def words(asked: Asked) -> str:
    """Return a trial's values as text."""
    listed = ", ".join(f"{key} = {shown(value)}" for key, value in asked.values.items())
    return "the recipe as written" if asked.number == 0 else listed
