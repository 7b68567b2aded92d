"""The study of a search: Optuna chooses the values of trials, and keeps finished trials in its journal file.

The rule: a trial is written once, when it ends. Its values and whether it is pruned follow from its number, the seed and the trials that
ended before those with which it began, alone. So a search that was killed, or is carried out elsewhere, asks for the same trials.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tlkit.errors import RunFolderError, reason
from tlkit.plans.search_plan import SearchPlan
from tlkit.recipe import search_space
from tlkit.recipe.search_space import Parameter
from tlkit.search import optuna_studies
from tlkit.search.pruning import Pruning

_CMA = "cma:"  # begins the names of what Optuna's CMA-ES keeps beside a trial: a pickle, so it is never read from a file
_DIGITS = 4  # significant digits of a number from an endless range: a recipe in which it is written stays readable


@dataclass(frozen=True)
class Asked:
    """A trial that is to be carried out.

    Attributes:
        number: From 0.
        first: The first of the trials that begin with it.
        values: Of the keys of the space.
    """

    number: int
    first: int
    values: Mapping[str, Any]


class Study:
    """A study and its journal.

    Args:
        journal: The file.
        name: Of the study; a journal may hold several.
        plan: What is searched.

    Raises:
        RunFolderError: the journal is damaged.
        OSError: it cannot be written.
    """

    def __init__(self, journal: Path, name: str, plan: SearchPlan) -> None:
        self._plan, self._name = plan, name
        _end_last_line(journal)
        with optuna_studies.quiet():
            try:
                storage = JournalStorage(JournalFileBackend(str(journal)))
                self._kept = optuna.create_study(
                    storage=storage, study_name=name, direction=optuna_studies.direction(plan), load_if_exists=True
                )
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"{journal}: is damaged: {reason(error)}.",
                    "move it away: the search begins anew, and finds the runs of its trials",
                ) from error
            self._begun: dict[int, optuna.Trial] = {}
            self._pruning: dict[int, Pruning] = {}
            self._live = self._replayed() if plan.sampler == "cmaes" else self._copied()

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """All trials that ended, in order."""
        return self._kept.get_trials(deepcopy=False)

    def ask(self) -> list[Asked]:
        """Begin the next trials, which begin together; none where a grid has no other. Those that ended before a kill are not among them."""
        found = []
        with optuna_studies.quiet():
            first = len(self._live.trials)
            for number in range(first, min(first + self._plan.at_once, max(self._plan.trials, first + 1))):
                only: Mapping[str, Any] | None = self._plan.written if number == 0 else None
                if number and self._plan.sampler == "grid":
                    only = next(self._untried(), None)
                    if only is None:
                        break
                self._begun[number], values = self._begin(self._live, number, only)
                self._pruning[number] = Pruning(self._name, self._plan, self.trials[:first], number)
                found.append(Asked(number, first, values))
            kept = self.trials[first : first + len(found)]
            for each in kept:
                self._end(each.number, each)
        return found[len(kept) :]

    def behind(self, number: int, lines: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether a trial is pruned, by the lines of metrics.jsonl so far."""
        return self._pruning[number].behind(lines)

    def tell(self, number: int, state: TrialState, value: float | None, beside: Mapping[str, Any]) -> None:
        """End a trial, and keep it in the journal. Trials end in the order of their numbers.

        Args:
            number: Of the trial.
            state: COMPLETE, PRUNED or FAIL.
            value: Of a complete trial.
            beside: What else is kept of it.

        Raises:
            OSError: the journal cannot be written.
        """
        with optuna_studies.quiet():
            known = self._pruning[number].trial
            ended = self._end(
                number,
                optuna.trial.create_trial(
                    state=state, value=value if state is TrialState.COMPLETE else None, user_attrs=dict(beside),
                    system_attrs=known.system_attrs, intermediate_values=known.intermediate_values,
                ),
            )  # fmt: skip
            self._kept.add_trial(_without_pickle(ended))

    def importance(self) -> dict[str, float]:
        """Return the share of each key in the variance of finished trials, by fANOVA; empty where too few trials differ.

        Source: Hutter, Hoos & Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance", ICML.
        """
        done = [each for each in self.trials if each.state is TrialState.COMPLETE and each.value is not None]
        if len({each.value for each in done}) < 2:
            return {}
        with optuna_studies.quiet(), contextlib.suppress(ValueError, RuntimeError):
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._plan.seed)
            found = optuna.importance.get_param_importances(self._kept, evaluator=evaluator)
            return {key: share for key, share in found.items() if math.isfinite(share)}
        return {}

    def _copied(self) -> optuna.Study:
        study = optuna_studies.empty(self._name, self._plan)
        study.add_trials(self.trials[: self._whole])
        return study

    @property
    def _whole(self) -> int:
        """The number of trials that ended with all of those with which they began."""
        return len(self.trials) // self._plan.at_once * self._plan.at_once

    def _replayed(self) -> optuna.Study:
        """Return a study in which CMA-ES is as it was after the last trial: every trial is asked for and told again."""
        self._live = optuna_studies.empty(self._name, self._plan)
        for first in range(0, self._whole, self._plan.at_once):
            for kept in self.trials[first : first + self._plan.at_once]:
                number = kept.number
                self._begun[number], _ = self._begin(self._live, number, self._plan.written if number == 0 else None)
                if self._begun[number].params != kept.params:  # another sampler chose it: CMA-ES begins here
                    self._begun.clear()
                    return self._copied()
            for kept in self.trials[first : first + self._plan.at_once]:
                self._end(kept.number, kept)
        return self._live

    def _end(self, number: int, found: FrozenTrial) -> FrozenTrial:
        """End a trial that is live with what it came to."""
        trial = self._begun.pop(number)
        self._pruning.pop(number, None)
        for step, value in found.intermediate_values.items():
            trial.report(value, step)
        for name, each in found.user_attrs.items():
            trial.set_user_attr(name, each)
        for name, each in found.system_attrs.items():
            trial.storage.set_trial_system_attr(trial._trial_id, name, each)
        return self._live.tell(trial, found.value if found.state is TrialState.COMPLETE else None, state=found.state)

    def _begin(self, study: optuna.Study, number: int, only: Mapping[str, Any] | None) -> tuple[optuna.Trial, dict[str, Any]]:
        """Ask for a trial; with `only`, it has these values and no other key."""
        study.sampler = _sampler(self._plan, number)
        if only is not None:
            study.enqueue_trial({key: search_space.label(value) for key, value in only.items()})
        trial, values = study.ask(), dict[str, Any]()
        for each in self._plan.parameters:
            if each.active(values) and (only is None or each.key in only):
                values[each.key] = _drawn(trial, each)
        return trial, values

    def _untried(self) -> Iterator[dict[str, Any]]:
        """Yield the combinations of a grid that no trial has had."""
        tried = [each.params for each in self._live.trials]
        for values in search_space.combinations(self._plan.parameters):
            if {key: search_space.label(value) for key, value in values.items()} not in tried:
                yield values


def trials_before(journal: str, name: str, first: int) -> Sequence[FrozenTrial]:
    """Return the trials of a journal, which is given as text, before one."""
    if not first:
        return ()
    with tempfile.TemporaryDirectory() as folder, optuna_studies.quiet():
        copy = Path(folder) / "journal"
        copy.write_text(journal, encoding="utf-8")
        study = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(copy))))
        return study.get_trials()[:first]


def _drawn(trial: optuna.Trial, each: Parameter) -> Any:
    if each.kind == "values":
        labels: list[str | int | float | None] = [search_space.label(value) for value in each.values]
        return each.values[labels.index(trial.suggest_categorical(each.key, labels))]
    if each.kind == "int":
        return trial.suggest_int(each.key, int(each.low), int(each.high))
    number = trial.suggest_float(each.key, each.low, each.high, log=each.kind == "log")
    return min(max(float(f"{number:.{_DIGITS}g}"), each.low), each.high)


def _sampler(plan: SearchPlan, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial, whose random numbers follow from the seed and the trial's number."""
    seed = int.from_bytes(hashlib.sha256(f"{plan.seed} {number}".encode()).digest()[:4], "big")
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if plan.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False, consider_pruned_trials=True)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's values are all given


def _without_pickle(trial: FrozenTrial) -> FrozenTrial:
    kept = {name: value for name, value in trial.system_attrs.items() if not name.startswith(_CMA)}
    return optuna.trial.create_trial(
        state=trial.state,
        value=trial.value,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=kept,
        intermediate_values=trial.intermediate_values,
    )


def _end_last_line(journal: Path) -> None:
    """Take away a last line that was not written to its end: whatever follows it could not be read."""
    if not journal.is_file():
        return
    text = journal.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(journal, whole)
