"""Read and write the epochs of a run: the lines of its metrics.jsonl. Imports no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tlkit import files
from tlkit.record import run_folder
from tlkit.record.run_folder import Metrics


class _Epoch(BaseModel):
    """What every line has, and the types of what it may have: see `events.Epoch`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int
    phase: int = Field(1, ge=1)
    train: Metrics
    validation: Metrics | None
    test: Metrics | None
    seconds: float
    lr: Metrics = {}
    images_per_second: float | None = None
    also: dict[str, Metrics] = {}
    train_evaluated: Metrics | None = None
    times: Metrics = {}
    target: Metrics | None = None

    @model_validator(mode="after")
    def _has_its_scores(self) -> _Epoch:
        for scores in (self.train, self.validation, self.test, self.train_evaluated):
            if scores is not None and not {"loss", "accuracy"} <= scores.keys():
                raise ValueError("an epoch has its loss and its accuracy")
        return self


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the epochs of the run in a folder, in order; damaged lines are left out."""
    path = folder / run_folder.METRICS
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, or no epoch
            record = json.loads(line)
            _Epoch.model_validate(record)
            lines.append({"phase": 1, "lr": {}, **record})
    return lines


def write(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write the epochs of a run into its folder, in place of those that are there."""
    files.replace(folder / run_folder.METRICS, "".join(json.dumps(line) + "\n" for line in lines))
