"""What the page says of one arm: its score over its runs, by which metric, and the interval of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit import tasks
from tlkit.record import results, selection, statistics
from tlkit.record.statistics import Interval
from tlkit.reports.page.runs import ShownArm


def metric(arms: Sequence[ShownArm]) -> str:
    """Return the metric that the result begins with: the one that the epochs of all runs were chosen by, else accuracy."""
    by = selection.shared(run.result.select_by for arm in arms for run in arm.runs)
    return by if by in tasks.metric_labels() else selection.USUAL


def judged_by(arms: Sequence[ShownArm]) -> str:
    """Return the metric that the task of all arms is judged by, else accuracy."""
    return selection.shared(tasks.headline(run.scores) for arm in arms for run in arm.runs if run.scores)


def interval_of(arm: ShownArm, by: str = selection.USUAL) -> tuple[float, Interval | None, str]:
    """Return an arm's mean accuracy, or another metric, its 95 % interval, and what kind of interval that is."""
    known = arm.summary(by)
    if known is None:
        return float("nan"), None, ""
    told = known["low"] is not None
    alike = told and arm.folds is None and known["low"] == known["high"]  # an interval over seeds without width says nothing
    if told and not alike:
        over = "seeds" if arm.folds is None else "seeds and folds"
        return known["mean"], Interval(known["low"], known["high"]), f"Student's t over {known['n']} {over}"
    answers = arm.first.answers if by == selection.USUAL else None
    if answers is None or (known["n"] > 1 and not alike):
        return known["mean"], None, f"mean of {known['n']}" if known["n"] > 1 else ""
    right, runs = answers.right, f"{known['n']} seeds alike" if alike else "one run"
    return known["mean"], statistics.wilson(int(right.sum()), len(right)), f"Wilson, {len(right):,} images, {runs}"


def leads(arms: Sequence[ShownArm]) -> list[str]:
    """Return the metrics that the result begins with: the task's own, and the one that chose the epochs; accuracy is not among them."""
    return [name for name in dict.fromkeys((judged_by(arms), metric(arms))) if name != selection.USUAL]


def mean_of(arm: ShownArm, by: str) -> tuple[str, str]:
    """Return the mean of a metric over an arm's runs, and its interval over seeds; "" for what is not known."""
    mean, interval, _ = interval_of(arm, by)
    text = selection.value({by: mean}, by) if np.isfinite(mean) else ""
    ends = () if interval is None else (interval.low, interval.high)
    return text, " to ".join(selection.value({by: end}, by) for end in ends)


def on_target(arm: ShownArm, target: str) -> tuple[str, str]:
    """Return the mean accuracy of an arm on the target, and its interval over seeds; "" of one or two, and where all are alike."""
    found = results.over_runs([dict(run.result.also.get(target, {})) for run in arm.runs], arm.folds).get("accuracy")
    if found is None:
        return "", ""
    return f"{found['mean']:.1%}", "" if found["low"] == found["high"] else f"{found['low']:.1%} to {found['high']:.1%}"


def arm_named(arms: Sequence[ShownArm], name: str) -> ShownArm:
    """Return the arm of a name, which is there."""
    return next(arm for arm in arms if arm.name == name)
