"""What a search found, as search.json in its recipe's folder holds it. Imports neither torch nor Optuna.

The rule: Optuna's journal is the study; this file says the same to people, reports and other programs, and is written after every trial.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tlkit import files

FILE, JOURNAL, LOCK = "search.json", "search.journal", ".search.lock"


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SpaceRecord(_Record):
    """A key of the space: "log", "float" and "int" have two ends, "values" a list."""

    key: str
    kind: Literal["log", "float", "int", "values"]
    low: float | None = None
    high: float | None = None
    values: tuple[Any, ...] = ()


class TrialRecord(_Record):
    """One trial.

    Attributes:
        number: From 0, which is the recipe as written.
        status: "finished", "pruned" or "failed".
        value: The metric on the validation images in the best epoch; of a pruned trial as far as it came. None of a failed one.
        loss: On the validation images in the same epoch, which decides where values are equal.
        values: Of the keys of the space that it has.
        outside: Of trial 0: what its run came to for the keys of the space in whose values it does not lie, such as a rate that was "auto".
        epochs: That it trained.
        seconds: That it took.
        folder: Name of its run's folder; None where its values are no recipe.
        same_as: The earlier trial with the same settings, whose run and value these are.
        error: Why it failed.
    """

    number: int
    status: Literal["finished", "pruned", "failed"]
    value: float | None = None
    loss: float | None = None
    values: dict[str, Any] = {}
    outside: dict[str, Any] = {}
    epochs: int = 0
    seconds: float = 0.0
    folder: str | None = None
    same_as: int | None = None
    error: str | None = None


class SearchRecord(_Record):
    """A search.

    Attributes:
        study: Name of the study in the journal: a digest of the arm as written, its data, seed, metric and space.
        arm: The arm that is changed.
        best_arm: Its name in results with the values of the best trial.
        seed: With which trials are trained.
        metric: On validation images.
        maximize: Whether more of it is better.
        sampler: That chose values last.
        pruner: That ended trials last.
        space: Of the trials.
        trials: So far.
        exhausted: Whether the grid has no other trial.
        best: Number of the best finished trial; None where there is none.
        importance: Share of each key in what makes trials differ (fANOVA); empty where it cannot be said.
        importance_of: Finished trials that it was computed from.
    """

    format: Literal[1] = 1
    study: str
    arm: str
    best_arm: str
    seed: int
    metric: str
    maximize: bool
    sampler: str
    pruner: str
    space: tuple[SpaceRecord, ...]
    trials: tuple[TrialRecord, ...] = ()
    exhausted: bool = False
    best: int | None = None
    importance: dict[str, float] = {}
    importance_of: int = 0

    def ranked(self) -> list[TrialRecord]:
        """Return the trials, the best first: those that are finished, then the pruned ones, then those that failed."""
        order = {"finished": 0, "pruned": 1, "failed": 2}
        return sorted(self.trials, key=lambda each: (order[each.status], _worse(each, self.maximize), each.number))

    @property
    def seconds(self) -> float:
        """All trials together took so long."""
        return sum(each.seconds for each in self.trials)


def best_of(trials: Sequence[TrialRecord], *, maximize: bool) -> int | None:
    """Return the number of the best finished trial, the first of those that are equal; None where none is finished."""
    finished = [each for each in trials if each.status == "finished" and each.same_as is None]
    return min(finished, key=lambda each: (_worse(each, maximize), each.number)).number if finished else None


def _worse(trial: TrialRecord, maximize: bool) -> tuple[float, float]:
    """Return what worse trials have more of: the metric, and where that is equal, the loss."""
    value = 0.0 if trial.value is None else trial.value
    return (-value if maximize else value), math.inf if trial.loss is None else trial.loss


def read(recipe_folder: Path, study: str | None = None) -> SearchRecord | None:
    """Return what a search found; None where there is nothing that this version can read, or it is another study."""
    try:
        record = SearchRecord.model_validate_json((recipe_folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if study in (None, record.study) else None


def write(recipe_folder: Path, record: SearchRecord) -> None:
    """Write it.

    Raises:
        OSError: it cannot be written.
    """
    files.replace(recipe_folder / FILE, json.dumps(record.model_dump(mode="json"), indent=2) + "\n")
