"""The study of a search: Optuna chooses the values of trials, and keeps finished trials in its journal file.

The rule: a trial is written once, when it ends. The values of a trial follow from its number, the seed and the trials before it alone,
so a search that was killed asks for the same trial again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tlkit.errors import RunFolderError, reason
from tlkit.plans.search_plan import SearchPlan
from tlkit.recipe import search_space
from tlkit.recipe.search_space import Parameter

_CMA = "cma:"  # begins the names of what Optuna's CMA-ES keeps beside a trial: a pickle, so it is never read from a file
_DIGITS = 4  # significant digits of a number from an endless range: a recipe in which it is written stays readable


@dataclass(frozen=True)
class Asked:
    """A trial that is to be carried out.

    Attributes:
        number: From 0.
        values: Of the keys of the space.
    """

    number: int
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
        with _quiet():
            try:
                storage = JournalStorage(JournalFileBackend(str(journal)))
                self._kept = optuna.create_study(
                    storage=storage, study_name=name, direction=self._direction, load_if_exists=True
                )
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"{journal}: is damaged: {reason(error)}.",
                    "move it away: the search begins anew, and finds the runs of its trials",
                ) from error
            self._live = self._replayed() if plan.sampler == "cmaes" else self._copied()
        self._trial: optuna.Trial | None = None

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """All trials that ended, in order."""
        return self._kept.get_trials(deepcopy=False)

    def ask(self) -> Asked | None:
        """Begin the next trial; None where a grid has no other."""
        with _quiet():
            number = len(self._live.trials)
            only: Mapping[str, Any] | None = self._plan.written if number == 0 else None
            if number and self._plan.sampler == "grid":
                only = next(self._untried(), None)
                if only is None:
                    return None
            self._trial, values = self._begin(self._live, number, only)
            return Asked(number, values)

    def behind(self, lines: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the trial is pruned, by the lines of metrics.jsonl so far."""
        assert self._trial is not None
        with _quiet():
            return _reported(self._trial, lines, self._plan.metric)

    def tell(self, state: TrialState, value: float | None, beside: Mapping[str, Any]) -> None:
        """End the trial, and keep it in the journal.

        Args:
            state: COMPLETE, PRUNED or FAIL.
            value: Of a complete trial.
            beside: What else is kept of it.

        Raises:
            OSError: the journal cannot be written.
        """
        assert self._trial is not None
        with _quiet():
            for name, each in beside.items():
                self._trial.set_user_attr(name, each)
            ended = self._live.tell(self._trial, value if state is TrialState.COMPLETE else None, state=state)
            self._kept.add_trial(_without_pickle(ended))
        self._trial = None

    def importance(self) -> dict[str, float]:
        """Return the share of each key in the variance of finished trials, by fANOVA; empty where too few trials differ.

        Source: Hutter, Hoos & Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance", ICML.
        """
        done = [each for each in self.trials if each.state is TrialState.COMPLETE and each.value is not None]
        if len({each.value for each in done}) < 2:
            return {}
        with _quiet(), contextlib.suppress(ValueError, RuntimeError):
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._plan.seed)
            found = optuna.importance.get_param_importances(self._kept, evaluator=evaluator)
            return {key: share for key, share in found.items() if math.isfinite(share)}
        return {}

    @property
    def _direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self._plan.metric == "loss" else "maximize"

    def _empty(self) -> optuna.Study:
        """Return a study in memory; its name is the journal's, since Hyperband's brackets depend on it."""
        return optuna.create_study(study_name=self._name, direction=self._direction, pruner=_pruner(self._plan))

    def _copied(self) -> optuna.Study:
        study = self._empty()
        study.add_trials(self.trials)
        return study

    def _replayed(self) -> optuna.Study:
        """Return a study in which CMA-ES is as it was after the last trial: every trial is asked for and told again."""
        study = self._empty()
        for kept in self.trials:
            trial, _ = self._begin(study, kept.number, self._plan.written if kept.number == 0 else None)
            if trial.params != kept.params:  # another sampler chose it: CMA-ES begins here
                return self._copied()
            for step, value in sorted(kept.intermediate_values.items()):
                trial.report(value, step)
                trial.should_prune()
            for name, each in kept.user_attrs.items():
                trial.set_user_attr(name, each)
            study.tell(trial, kept.value if kept.state is TrialState.COMPLETE else None, state=kept.state)
        return study

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


def _drawn(trial: optuna.Trial, each: Parameter) -> Any:
    if each.kind == "values":
        labels: list[str | int | float | None] = [search_space.label(value) for value in each.values]
        return each.values[labels.index(trial.suggest_categorical(each.key, labels))]
    if each.kind == "int":
        return trial.suggest_int(each.key, int(each.low), int(each.high))
    number = trial.suggest_float(each.key, each.low, each.high, log=each.kind == "log")
    return min(max(float(f"{number:.{_DIGITS}g}"), each.low), each.high)


def _reported(trial: optuna.Trial, lines: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Report the epochs that are not reported yet; return whether the trial is pruned after one of them."""
    pruned = False
    for line in lines:
        scores = line["validation"] or {}
        if metric in scores and math.isfinite(scores[metric]):
            known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
            if line["epoch"] not in known:
                trial.report(scores[metric], line["epoch"])
                pruned = trial.should_prune()
    return pruned


def _sampler(plan: SearchPlan, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial, whose random numbers follow from the seed and the trial's number."""
    seed = int.from_bytes(hashlib.sha256(f"{plan.seed} {number}".encode()).digest()[:4], "big")
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if plan.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False, consider_pruned_trials=True)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's values are all given


def _pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(plan.epochs, 1))
    return optuna.pruners.MedianPruner() if plan.pruner == "median" else optuna.pruners.NopPruner()


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log and its remarks about its own interfaces from users."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
