"""The table of arms, and the paired differences between them."""

from __future__ import annotations

import itertools
import statistics as numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit import tasks
from tlkit.record import run_folder, statistics
from tlkit.record.statistics import Interval
from tlkit.reports.page.runs import ShownArm, ShownRun

_ALL_PAIRS = 4  # arms; of more, each is compared with the best by validation alone


@dataclass(frozen=True)
class Row:
    """One row of the table of arms; "" where a cell has no value."""

    name: str
    cells: tuple[str, ...]
    reference: bool = False


@dataclass(frozen=True)
class Difference:
    """Two arms on the same images.

    Attributes:
        first: Name of an arm.
        second: Name of the other.
        difference: Accuracy of the second minus that of the first, in points.
        tests: McNemar's test of each seed, in words.
        over_seeds: The paired t interval, in words; "" where there is none.
        why_none: Why there is none; "" where there is one.
    """

    first: str
    second: str
    difference: str
    tests: tuple[str, ...]
    over_seeds: str
    why_none: str


def columns(arms: Sequence[ShownArm]) -> list[str]:
    """Return the heads of the table's columns after the arm."""
    split = arms[0].first.split
    more = [tasks.metric_labels()[name].label for name in _more(arms)]
    return [
        "runs", f"{split} accuracy", "95 % interval", "interval by", "train accuracy", f"train - {split} (points)", f"{split} loss", *more,
        "best epoch", "parameters trained", "of", "s / epoch", "seconds", "images/s",
    ]  # fmt: skip


def rows(arms: Sequence[ShownArm]) -> list[Row]:
    """Return a row for each arm, then chance and the commonest class."""
    found = [_row(arm, _more(arms)) for arm in arms]
    answers, width = arms[0].first.answers, len(columns(arms))
    if answers is not None:
        labels = answers[1]
        classes = arms[0].first.plan.classes
        common = np.bincount(labels, minlength=classes).max() / len(labels)
        for name, accuracy in (("chance", 1 / classes), ("the commonest class", float(common))):
            found.append(Row(name, ("", f"{accuracy:.1%}", *[""] * (width - 2)), reference=True))
    return found


def interval_of(arm: ShownArm) -> tuple[float, Interval | None, str]:
    """Return an arm's mean accuracy, its 95 % interval, and what kind of interval that is."""
    known = arm.summary("accuracy")
    if known is None:
        return float("nan"), None, ""
    if known["low"] is not None:
        over = "seeds" if arm.folds is None else "seeds and folds"
        return known["mean"], Interval(known["low"], known["high"]), f"Student's t over {known['n']} {over}"
    answers = arm.first.answers
    if known["n"] > 1 or answers is None:
        return known["mean"], None, f"mean of {known['n']}" if known["n"] > 1 else ""
    right = answers[2]
    return known["mean"], statistics.wilson(int(right.sum()), len(right)), f"Wilson, {len(right):,} images, one run"


def sentence(arms: Sequence[ShownArm]) -> str:
    """Return the result in one sentence."""
    best = arms[0]
    mean, interval, kind = interval_of(best)
    text = f"{best.name} has {mean:.1%} accuracy on the {best.first.split} images"
    if interval is not None:
        text += f" (95 % interval {interval.low:.1%} to {interval.high:.1%}; {kind})"
    if len(arms) == 1:
        return f"{text}."
    chosen = "It is the best by validation" if np.isfinite(best.worth) else "There are no validation images to rank the arms by"
    rest = [difference for difference in differences(arms) if best.name in (difference.first, difference.second)]
    if not rest:
        return f"{text}. {chosen}."
    against = rest[0]
    other = against.first if against.second == best.name else against.second
    points = float(against.difference) * (1 if against.second == best.name else -1)
    proof = against.over_seeds or (against.tests[0] if against.tests else "")
    return f"{text}. {chosen}, {points:+.1f} points from {other} on the same images ({proof})."


def differences(arms: Sequence[ShownArm]) -> list[Difference]:
    """Compare arms on the same images: all pairs, or of many arms each with the best by validation."""
    pairs = itertools.combinations(arms, 2) if len(arms) <= _ALL_PAIRS else ((arms[0], other) for other in arms[1:])
    return [found for first, second in pairs if (found := _difference(second, first)) is not None]


def _difference(first: ShownArm, second: ShownArm) -> Difference | None:
    """Compare two arms run by run, where both have the same seed, fold and images."""
    others = {(run.result.seed, run.result.fold): run for run in second.runs}
    tests: list[str] = []
    gaps: list[float] = []
    for run in first.runs:
        other = others.get((run.result.seed, run.result.fold))
        if other is None or not _same_images(run, other):
            continue
        mine, theirs = run.answers, other.answers
        assert mine is not None  # as they have the same images
        assert theirs is not None
        found = statistics.mcnemar(mine[2], theirs[2])
        gaps.append(found.difference)
        where = run_folder.label("", run.result.seed, run.result.fold).removeprefix(", ")
        tests.append(
            f"{where}: {found.only_second} images only {second.name} has right, {found.only_first} only {first.name}; "
            f"exact McNemar {_p(found.p)}"
        )
    if not gaps:
        return None
    over = statistics.paired_t(gaps) if first.folds is None else None
    words = "" if over is None else (
        f"{over.mean * 100:+.1f} points, 95 % interval {over.interval.low * 100:+.1f} to {over.interval.high * 100:+.1f}, "
        f"paired t over {over.n} seeds, {_p(over.p)}"
    )  # fmt: skip
    why = "" if words else "fewer than three seeds" if first.folds is None else "folds share training images"
    return Difference(first.name, second.name, f"{numbers.fmean(gaps) * 100:+.1f}", tuple(tests), words, why)


def _same_images(first: ShownRun, second: ShownRun) -> bool:
    mine, theirs = first.answers, second.answers
    if mine is None or theirs is None or first.split != second.split:
        return False
    return np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _more(arms: Sequence[ShownArm]) -> list[str]:
    """The metrics beside accuracy and loss that some arm has."""
    return [name for name in tasks.metric_labels() if any(arm.summary(name) for arm in arms)]


def _row(arm: ShownArm, more: Sequence[str]) -> Row:
    mean, interval, kind = interval_of(arm)
    train = [value for run in arm.runs if (value := run.train_accuracy) is not None]
    trained = numbers.fmean(train) if train else None
    loss = arm.summary("loss")
    metrics = tasks.metric_labels()
    found = {name: arm.summary(name) for name in more}
    times = [line["seconds"] for run in arm.runs for line in run.metrics]
    rates = [line["images_per_second"] for run in arm.runs for line in run.metrics]
    result = arm.first.result
    return Row(
        arm.name,
        (
            str(len(arm.runs)),
            f"{mean:.1%}",
            "" if interval is None else f"{interval.low:.1%} to {interval.high:.1%}",
            kind,
            "" if trained is None else f"{trained:.1%}",
            "" if trained is None else f"{(trained - mean) * 100:+.1f}",
            "" if loss is None else f"{loss['mean']:.3f}",
            *("" if each is None else _shown(each["mean"], percent=metrics[name].percent) for name, each in found.items()),
            ", ".join(sorted({str(run.result.best_epoch) for run in arm.runs}, key=int)),
            f"{result.parameters.trained:,}",
            f"{result.parameters.total:,}",
            f"{numbers.median(times):.1f}" if times else "",
            f"{sum(run.result.seconds for run in arm.runs):,.0f}",
            f"{numbers.median(rates):,.0f}" if rates else "",
        ),
    )


def _shown(value: float, *, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3f}"
