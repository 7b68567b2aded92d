"""Optuna's studies in memory, made for what a search optimizes, and without Optuna's messages."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Literal

import optuna

from tlkit.plans.search_plan import SearchPlan


def empty(name: str, plan: SearchPlan) -> optuna.Study:
    """Return a study in memory."""
    return optuna.create_study(study_name=name, direction=direction(plan), pruner=_pruner(plan))


def direction(plan: SearchPlan) -> Literal["minimize", "maximize"]:
    """Return the direction in which the metric of a search is better."""
    return "minimize" if plan.metric == "loss" else "maximize"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log and its remarks about its own interfaces from users."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(plan.epochs, 1))
    return optuna.pruners.MedianPruner() if plan.pruner == "median" else optuna.pruners.NopPruner()
