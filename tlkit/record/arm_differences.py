"""The difference in accuracy between two arms, run by run on the same images. Imports no torch.

The rule: only runs of the same seed and fold are compared, and only where both predicted the same images with the same labels.
"""

from __future__ import annotations

import statistics as numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.record import predictions, run_folder, statistics
from tlkit.record.predictions import Answers
from tlkit.record.statistics import McNemar, PairedDifference

Key = tuple[int, int | None]  # seed and fold of a run


@dataclass(frozen=True)
class ArmDifference:
    """How much better an arm is than another.

    Attributes:
        runs: McNemar's test of each seed and fold; the first network is the other arm's.
        over_seeds: The paired t-test; None where there is none.
        why_none: Why there is none; "" where there is one.
    """

    runs: Mapping[Key, McNemar]
    over_seeds: PairedDifference | None
    why_none: str

    @property
    def mean(self) -> float:
        """Accuracy of the arm minus that of the other, the mean over the runs."""
        return numbers.fmean(test.difference for test in self.runs.values())


def difference(arm: Mapping[Key, Answers | None], other: Mapping[Key, Answers | None]) -> ArmDifference | None:
    """Compare an arm with another; None where no run of one has the images of a run of the other.

    Args:
        arm: The answers of each of its runs; None where an image may have several labels.
        other: Those of the other arm.
    """
    tests = {}
    for key, mine in arm.items():
        theirs = other.get(key)
        if mine is not None and theirs is not None and _same_images(mine, theirs):
            tests[key] = statistics.mcnemar(theirs.right, mine.right)
    if not tests:
        return None
    folds = any(fold is not None for _, fold in tests)
    over = None if folds else statistics.paired_t([test.difference for test in tests.values()])
    few = "fewer than three seeds" if len(tests) < statistics.FEWEST else "the difference is the same in every seed"
    why = "folds share training images" if folds else "" if over is not None else few
    return ArmDifference(tests, over, why)


def add(arms: Mapping[str, dict[str, Any]], baseline: str, folder: Path) -> None:
    """Add to each arm of a result.json its difference to the baseline, as "difference".

    Args:
        arms: The arms as result.json has them.
        baseline: The arm that the others are compared with. Where it has no finished run, nothing is added.
        folder: runs/<recipe>.
    """
    if baseline not in arms:
        return
    known = _answers(arms[baseline], folder)
    for name, table in arms.items():
        if name != baseline and (found := difference(_answers(table, folder), known)) is not None:
            table["difference"] = to_record(found)


def compared_split(adapt: Mapping[str, Any] | None, *, tested: bool) -> str:
    """Return the images that a run is compared on: the target's where it has [adapt], else test images, else validation images.

    Args:
        adapt: "adapt" of a run in result.json; None where it has no [adapt].
        tested: The run has test images.
    """
    if adapt is not None:
        return f"also.{adapt['target']}"
    return "test" if tested else "validation"


def to_record(found: ArmDifference) -> dict[str, Any]:
    """Return a difference as result.json has it."""
    over = found.over_seeds
    return {
        "mean": found.mean,
        "low": None if over is None else over.interval.low,
        "high": None if over is None else over.interval.high,
        "p": None if over is None else over.p,
        "n": len(found.runs),
        "why_no_interval": found.why_none,
        "runs": [
            {
                "seed": seed,
                "fold": fold,
                "difference": test.difference,
                "only_baseline": test.only_first,
                "only_this": test.only_second,
                "images": test.images,
                "p": test.p,
            }
            for (seed, fold), test in found.runs.items()
        ],
    }


def _same_images(first: Answers, second: Answers) -> bool:
    return (
        first.split == second.split and np.array_equal(first.index, second.index) and np.array_equal(first.label, second.label)
    )


def _answers(table: Mapping[str, Any], folder: Path) -> dict[Key, Answers | None]:
    """Return the answers of the finished runs of an arm."""
    runs: Iterable[Mapping[str, Any]] = run_folder.runs_of(table)
    return {
        (run["seed"], run.get("fold")): predictions.answers(
            folder / run["folder"], compared_split(run.get("adapt"), tested=run["test"] is not None)
        )
        for run in runs
        if run["status"] == "finished"
    }
