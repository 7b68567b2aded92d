"""Read evaluation.json: what happened to every class of the held-out images in a run's best epoch. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tlkit.errors import RunFolderError, reason
from tlkit.record import run_folder


class _Class(BaseModel):
    model_config = ConfigDict(extra="allow")

    images: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class _Split(BaseModel):
    model_config = ConfigDict(extra="allow")

    confusion: list[list[int]] | list[list[list[int]]] = []
    confused: list[tuple[int, int, int]] = []
    per_class: dict[str, _Class] = {}
    curves: dict[str, list[float]] = {}


def load(folder: Path, split: str) -> Mapping[str, Any]:
    """Return what happened to every class of a split; empty where the run has no such file or split.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / run_folder.EVALUATION
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found: Mapping[str, Any] = record.get(split, {})
        known = _Split.model_validate(found)
        confusion, classes = np.array(known.confusion), len(known.per_class)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else reason(error)
        raise RunFolderError(f"{path}: is damaged: {why}.", "apply its recipe again") from error
    pairs = [each for true, said, _ in known.confused for each in (true, said)]
    if (confusion.ndim == 2 and confusion.shape != (classes, classes)) or not all(0 <= each < classes for each in pairs):
        raise RunFolderError(f"{path}: is damaged: its confusions do not fit its classes.", "apply its recipe again")
    return found
