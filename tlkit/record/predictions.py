"""Write and read predictions.npz: what a run's best epoch predicts for every validation and test image. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.errors import RunFolderError, shortened
from tlkit.record import record_files

FILE = "predictions.npz"
_ARRAYS = ("split", "index", "label", "logits")


@dataclass(frozen=True)
class Predicted:
    """Predictions for N images.

    Attributes:
        split: (N,) "validation", "test", or "also.NAME" for another data set.
        index: (N,) positions of the images, as "positions" of the split in split.json.
        label: (N, ...) targets, as the task of the run understands them.
        logits: (N, classes, ...) float32.
    """

    split: NDArray[np.str_]
    index: NDArray[np.int64]
    label: NDArray[np.integer]
    logits: NDArray[np.float32]

    def part(self, split: str) -> Predicted:
        """Return the predictions for one split."""
        mine = self.split == split
        return Predicted(self.split[mine], self.index[mine], self.label[mine], self.logits[mine])


@dataclass(frozen=True)
class Features:
    """What the head read of n images of a split when the best epoch was evaluated.

    Attributes:
        rows: (n,) rows of the images in the split's predictions, ascending.
        values: (n, F) float32.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """Which of N images, each of one class, a run has right.

    Attributes:
        split: "test" or "validation".
        index: (N,) positions of the images.
        label: (N,) their classes.
        right: (N,) whether the class with the highest logit is the label.
    """

    split: str
    index: NDArray[np.int64]
    label: NDArray[np.integer]
    right: NDArray[np.bool_]


def shown(splits: Collection[str]) -> str | None:
    """Return the split whose images a report shows: "test", else "validation", else None."""
    return next((name for name in ("test", "validation") if name in splits), None)


def save(
    folder: Path,
    parts: Mapping[str, tuple[NDArray[np.int64], NDArray[np.integer], NDArray[np.float32]]],
    features: Features | None = None,
) -> None:
    """Write a run's predictions; without any image no file.

    Rows of numbers in the place of logits may be longer in one split than in another: there -1 fills them up, as `box_metrics.read` skips it.

    Args:
        folder: The run's folder.
        parts: Index, label and logits of the images, by split.
        features: Of some images of the split that is shown.
    """
    parts = {name: arrays for name, arrays in parts.items() if len(arrays[0])}
    if not parts:
        return
    index, label, logits = zip(*parts.values(), strict=True)
    split = np.repeat(list(parts), [len(arrays[0]) for arrays in parts.values()])
    with files.replacing(folder / FILE) as file:
        arrays = {
            "split": split,
            "index": np.concatenate(index),
            "label": np.concatenate(label),
            "logits": _of_one_length(logits),
        }
        if features is not None:
            arrays |= {"features": features.values, "features_row": np.flatnonzero(split == shown(parts))[features.rows]}
        np.savez(file, allow_pickle=False, **arrays)


def answers(folder: Path, split: str) -> Answers | None:
    """Return which images of a split a run has right; None where it predicted none, or an image may have several labels."""
    with contextlib.suppress(RunFolderError):
        found = load(folder).part(split)
        if len(found.index) and found.label.ndim == 1:
            return Answers(split, found.index, found.label, found.logits.argmax(1) == found.label)
    return None


def validation(folder: Path, *, where: str) -> Predicted:
    """Read a run's predictions for its validation images, where each image has one class.

    Args:
        folder: The run's folder.
        where: Begins the message.

    Raises:
        RunFolderError: there are none, the file is damaged, or an image may have several classes.
    """
    found = load(folder).part("validation")
    if not len(found.index):
        raise RunFolderError(f"{where}: {folder} has no validation images.", "data.split.validation = 0.1 in its recipe")
    if found.label.ndim != 1:
        raise RunFolderError(
            f"{where}: the images of {folder} may have several classes.", "it is for heads of one class an image"
        )
    return found


def load(folder: Path) -> Predicted:
    """Read a run's predictions.

    Raises:
        RunFolderError: there are none, or the file is damaged.
    """
    return Predicted(*_read(folder, _ARRAYS))


def features(folder: Path) -> Features | None:
    """Read the features of some images of the split that is shown; None where none were kept.

    Raises:
        RunFolderError: there are no predictions, or the file is damaged.
    """
    (split,) = _read(folder, ("split",))
    name = shown(set(split.tolist()))
    found = _read(folder, ("features_row", "features"), optional=True)
    if name is None or not found:
        return None
    rows, values = found
    return Features(np.searchsorted(np.flatnonzero(split == name), rows), values)


def _of_one_length(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return rows (N, length, ...) one below the other, filled up with -1 to the longest."""
    longest = max(each.shape[1] for each in parts)
    return np.concatenate(
        [
            each if each.shape[1] == longest else np.pad(each, ((0, 0), (0, longest - each.shape[1])), constant_values=-1)
            for each in parts
        ]
    )


def _read(folder: Path, names: Sequence[str], *, optional: bool = False) -> list[NDArray[Any]]:
    """Read arrays of a run's file; none where they are optional and the file has them not."""
    path = folder / FILE
    try:
        with record_files.arrays(path) as found:
            return [] if optional and not set(names) <= set(found.files) else [found[name] for name in names]
    except FileNotFoundError as error:
        raise RunFolderError(f"{folder}: has no {FILE}.", "a run has one after its first epoch with such images") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: is damaged: {shortened(str(error))}.", "apply the recipe again") from error
