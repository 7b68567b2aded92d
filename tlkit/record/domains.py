"""What adapting to another domain gained: the gap closed, and whether a few labels are worth more. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.record import run_folder, selection, statistics

ORACLE = "oracle"
KEY = "adapt"  # of an arm in result.json, and of a run
_ROUNDING = 1e-6  # of the ends of an interval; one so narrow is of values that do not vary


def add_(arms: Mapping[str, dict[str, Any]]) -> None:
    """Add to every arm with [adapt] what its accuracy on the target is worth.

    The gap is that between an arm that is trained on the source alone and one that is trained on labelled target images alone, of
    those the one with the most labels. Both must be in the recipe; of several arms of the source alone it is not known which one counts.
    Over three seeds or more the part of the gap has an interval: see `statistics.paired_ratio`.

    Args:
        arms: Of result.json, each with "seeds" and "also".
    """
    tables = {name: found for name, arm in arms.items() if (found := _table(arm)) is not None}
    for name, table in tables.items():
        arm, target = arms[name], table["target"]
        mine, rivals = _accuracy(arm, target), {other: each for other, each in tables.items() if each["target"] == target}
        arm[KEY] = {key: table[key] for key in ("target", "method", "images", "labels_per_class", "source", "pseudo_labels")}
        plain = [other for other, each in rivals.items() if _plain(each)]
        trained = sorted(
            (other for other, each in rivals.items() if not each["source"]),
            key=lambda other: -rivals[other]["labels_per_class"],
        )
        if mine is None or len(plain) != 1 or not trained or name in (plain[0], trained[0]):
            continue
        low, high = _accuracy(arms[plain[0]], target), _accuracy(arms[trained[0]], target)
        if low is not None and high is not None and high > low:
            closed = {"source_only": plain[0], "target_trained": trained[0], "closed": (mine - low) / (high - low)}
            arm[KEY]["gap"] = closed | _interval(arm, arms[plain[0]], arms[trained[0]], target)


def labels_are_worth_more(arms: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return an arm with a few target labels beside the source, and the best arm without a label, where the first one is better.

    Where no arm has a method there is nothing to say.
    """
    known = {
        name: (arm[KEY], found) for name, arm in arms.items() if KEY in arm and (found := _accuracy(arm, arm[KEY]["target"]))
    }
    few = {name: found for name, (table, found) in known.items() if table["labels_per_class"] and table["source"]}
    if not few:
        return None
    best = max(few, key=few.__getitem__)
    target = known[best][0]["target"]  # of another one no image is the same
    without = {
        name: found for name, (table, found) in known.items() if not table["labels_per_class"] and table["target"] == target
    }
    if all(_plain(known[name][0]) for name in without):
        return None
    rival = max(without, key=without.__getitem__)
    return (best, rival) if few[best] > without[rival] else None


@dataclass(frozen=True)
class EpochChoice:
    """The epoch that a score would have chosen.

    Attributes:
        by: A score of the target without labels, "validation" of the source, or "oracle": accuracy on the target, which nobody knows.
        epoch: The best by it.
        accuracy: On the target after this epoch; None where the target was not evaluated then.
    """

    by: str
    epoch: int
    accuracy: float | None


def epoch_choices(lines: Sequence[Mapping[str, Any]], target: str, *, select_by: str) -> list[EpochChoice]:
    """Return which epoch each score would have chosen, as training chooses: by the score, then by the loss, then the earlier one.

    A score that was not computed in every epoch is left out.

    Args:
        lines: Of metrics.jsonl.
        target: The target's name in [also].
        select_by: The metric that chose the run's epoch.
    """
    metric = select_by if select_by not in selection.WITHOUT_LABELS else selection.USUAL
    scores: dict[str, tuple[Callable[[Mapping[str, Any], str], Mapping[str, float] | None], str]] = {
        **{by: (_of_target, by) for by in selection.WITHOUT_LABELS},
        "validation": (lambda line, _: line["validation"], metric),
        ORACLE: (lambda line, _: line.get("also", {}).get(target), selection.USUAL),
    }
    found = []
    for name, (read, by) in scores.items():
        known = [read(line, by) for line in lines]
        if not known or any(each is None or by not in each for each in known):
            continue
        best = max(range(len(known)), key=lambda place: selection.worth(known[place], by))
        also = lines[best].get("also", {}).get(target)
        found.append(EpochChoice(name, int(lines[best]["epoch"]), None if also is None else also["accuracy"]))
    return found


def _of_target(line: Mapping[str, Any], by: str) -> Mapping[str, float] | None:
    return selection.decisive(line["validation"], line.get("target"), by)


def _table(arm: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return [adapt] of an arm's runs; None without."""
    return next((run[KEY] for run in run_folder.runs_of(arm) if run.get(KEY) is not None), None)


def _plain(table: Mapping[str, Any]) -> bool:
    """Return whether an arm is trained on the source alone, and adapts to nothing."""
    return bool(table["source"]) and table["method"] == "none" and not table["labels_per_class"] and not table["pseudo_labels"]


def _interval(
    arm: Mapping[str, Any], plain: Mapping[str, Any], trained: Mapping[str, Any], target: str
) -> dict[str, float | str | None]:
    """Return the interval of the part of the gap that an arm closes, or why there is none."""
    mine, low, high = (_by_run(each, target) for each in (arm, plain, trained))
    found = None
    if not mine.keys() == low.keys() == high.keys():
        why = "the arms have runs of different seeds"
    elif any(fold is not None for _, fold in mine):
        why = "folds share training images"
    elif len(mine) < statistics.FEWEST:
        why = "fewer than three seeds"
    else:
        found = statistics.paired_ratio([mine[key] - low[key] for key in mine], [high[key] - low[key] for key in mine])
        why = "over these seeds the gap may be none"
        if found is not None and math.isclose(found.low, found.high, abs_tol=_ROUNDING):
            found, why = None, "the part is the same in every seed"
    if found is None:
        return {"low": None, "high": None, "why_no_interval": why}
    return {"low": found.low, "high": found.high, "why_no_interval": ""}


def _by_run(arm: Mapping[str, Any], target: str) -> dict[tuple[int, int | None], float]:
    """Return the accuracy on the target of each finished run, by seed and fold."""
    return {
        (run["seed"], run.get("fold")): run["also"][target]["accuracy"]
        for run in run_folder.runs_of(arm)
        if run.get("status") == "finished" and target in run.get("also", {})
    }


def _accuracy(arm: Mapping[str, Any], target: str) -> float | None:
    """Return an arm's mean accuracy on the target; None where no run is finished."""
    found = arm.get("also", {}).get(target, {}).get("accuracy")
    return None if found is None else float(found["mean"])
