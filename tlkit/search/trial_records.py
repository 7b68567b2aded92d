"""The records of a search's trials: in Optuna's journal, and in search.json, which is written anew after each trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from tlkit.errors import RunFolderError, TlkitError
from tlkit.events import Observer
from tlkit.plans.jobs import Job
from tlkit.plans.search_jobs import Searching
from tlkit.recipe import search_space
from tlkit.record import epoch_lines, run_folder, search_record, selection
from tlkit.record.run_folder import RunResult
from tlkit.record.search_record import SearchRecord, SpaceRecord, TrialRecord
from tlkit.search.study import Asked, Study

_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_STATUS = {state: status for status, state in _STATES.items()}


@dataclass(frozen=True)
class TrialRecords:
    """The trials of a search that this process carries out.

    Attributes:
        searching: The search.
        study: Its journal.
        observer: Told of every trial that ends.
    """

    searching: Searching
    study: Study
    observer: Observer

    def known(self) -> list[TrialRecord]:
        """Return the trials of the journal.

        Raises:
            RunFolderError: a trial cannot be read.
        """
        return [_record(each) for each in self.study.trials]

    def of_run(self, asked: Asked, job: Job, result: RunResult) -> TrialRecord:
        """Return a trial by what its run came to.

        Raises:
            TlkitError: it has no validation images.
        """
        metric = self.searching.plan.metric
        if result.validation is None:
            raise TlkitError(
                f"{self.searching.where}: search: {job.label} has no validation images, and test images choose nothing.",
                "data.split.validation = 0.1, or more images",
            )
        # The last epoch is reported too, whether this process trained it or another.
        self.study.behind(asked.number, epoch_lines.read(job.folder))
        value = result.validation.get(metric, math.nan)
        found = TrialRecord(
            number=asked.number, status="pruned" if result.status == "pruned" else "finished", value=value, loss=result.validation.get("loss"),
            epochs=result.epochs, seconds=result.seconds, folder=job.folder.name,
            outside=self._outside(job) if asked.number == 0 else {},
        )  # fmt: skip
        if math.isfinite(value):
            return found
        return found.model_copy(
            update={"status": "failed", "value": None, "error": f"the validation images do not define {metric}"}
        )

    def _outside(self, job: Job) -> dict[str, Any]:
        """Return what the recipe as written has of the keys in whose values it does not lie, as its run resolved them."""
        plan, known = self.searching.plan, run_folder.resolved(job.folder)
        auto = {"data.batch_size": known.get("batch_size")}
        auto |= {f"lr_groups.{group}": rate for group, rate in known.get("rates", {}).items()}
        found = search_space.outside(plan.base, plan.parameters, plan.written)
        return {key: auto.get(key, value) if value == "auto" else value for key, value in found.items()}

    def tell(self, asked: Asked, trial: TrialRecord) -> None:
        """Write a trial into the journal, and say how it ended."""
        beside = trial.model_copy(update={"values": dict(asked.values)})
        self.study.tell(asked.number, _STATES[trial.status], trial.value, {"tlkit": json.loads(beside.model_dump_json())})
        metric = self.searching.plan.metric
        said = {"failed": f"failed: {trial.error}", "pruned": f"pruned after epoch {trial.epochs}", "finished": "finished"}
        score = "" if trial.value is None else f"; validation {selection.shown({metric: trial.value}, metric)}"
        same = "" if trial.same_as is None else f"; it is trial {trial.same_as}"
        self.observer.note(f"trial {asked.number}: {said[trial.status]}{score}{same}")

    def keep(self, *, exhausted: bool = False) -> SearchRecord:
        """Write search.json as the journal is now.

        Args:
            exhausted: Nothing is left to try.
        """
        searching, plan, trials = self.searching, self.searching.plan, tuple(self.known())
        maximize = plan.metric != "loss"
        record = SearchRecord(
            study=searching.study,
            arm=plan.arm,
            best_arm=plan.best_name,
            seed=plan.seed,
            metric=plan.metric,
            maximize=maximize,
            sampler=plan.sampler,
            pruner=plan.pruner,
            space=tuple(
                SpaceRecord(key=each.key, kind=each.kind, values=each.values)
                if each.kind == "values"
                else SpaceRecord(key=each.key, kind=each.kind, low=each.low, high=each.high)
                for each in plan.parameters
            ),
            trials=trials,
            exhausted=exhausted,
            best=search_record.best_of(trials, maximize=maximize),
        )
        if searching.has_enough(record):
            importance = self.study.importance()
            finished = sum(each.status == "finished" for each in trials)
            record = record.model_copy(update={"importance": importance, "importance_of": finished if importance else 0})
        search_record.write(searching.folder, record)
        return record


def _record(trial: FrozenTrial) -> TrialRecord:
    """Return a trial of the journal.

    Raises:
        RunFolderError: it is not one of ours.
    """
    kept: Mapping[str, Any] = trial.user_attrs.get("tlkit", {})
    try:
        return TrialRecord.model_validate({**kept, "number": trial.number, "status": _STATUS[trial.state]})
    except (ValidationError, KeyError) as error:
        raise RunFolderError(
            f"{search_record.JOURNAL}: trial {trial.number} cannot be read.", "move the journal away"
        ) from error
