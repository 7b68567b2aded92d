"""Whether a trial of a search is pruned, by its epochs so far and by the trials that ended before it began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tlkit.plans.search_plan import SearchPlan
from tlkit.search import optuna_studies


class Pruning:
    """Whether one trial is pruned, by those that ended before it began.

    Args:
        name: Of the study: Hyperband's brackets depend on it.
        plan: What is searched.
        before: Trials that ended before this one began.
        number: Of the trial.
    """

    def __init__(self, name: str, plan: SearchPlan, before: Sequence[FrozenTrial], number: int) -> None:
        self._metric = plan.metric
        with optuna_studies.quiet():
            study = optuna_studies.empty(name, plan)
            study.add_trials(before)
            trials = [study.ask() for _ in range(len(before), number + 1)]  # the others begin with it and report nothing
            self._trial = trials[-1]

    @property
    def trial(self) -> FrozenTrial:
        """The trial with what was reported of it."""
        return self._trial.study.get_trials(deepcopy=False)[self._trial.number]

    def behind(self, lines: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the trial is pruned, by the lines of metrics.jsonl so far."""
        with optuna_studies.quiet():
            return _reported(self._trial, lines, self._metric)


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
