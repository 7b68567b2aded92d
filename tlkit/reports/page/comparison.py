"""The table of arms, and the paired differences between them."""

from __future__ import annotations

import itertools
import statistics as numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlkit import tasks
from tlkit.record import arm_differences, results, run_folder, selection, statistics
from tlkit.record.predictions import Answers
from tlkit.record.statistics import Interval
from tlkit.reports import ensemble_rows
from tlkit.reports.differences import head, p_value, points, short
from tlkit.reports.page.runs import ShownArm

_INTERVAL, _BY, _OF = "95 % interval", "interval by", "of"  # heads of columns
_ALIKE = {
    _BY: "How the 95 % intervals were computed: {}.",
    _OF: "Each network has {} parameters.",
}  # what is said where all arms are alike
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
        short: The difference with its interval and p-value, for the cell of a table.
    """

    first: str
    second: str
    difference: str
    tests: tuple[str, ...]
    over_seeds: str
    why_none: str
    short: str


def columns(arms: Sequence[ShownArm], baseline: str = "") -> list[str]:
    """Return the heads of the table's columns after the arm.

    Args:
        arms: The arms.
        baseline: Name of the arm that the others are compared with; "" for none.
    """
    split = arms[0].first.split
    more, usual = [tasks.metric_label(name) for name in _more(arms)], judged_by(arms) == selection.USUAL
    labels = [tasks.metric_label(name) for name in _leads(arms)]
    return [
        "runs", *(text for label in labels for text in (f"{split} {label}", f"{_INTERVAL} of {label}")),
        *([f"{split} accuracy", _INTERVAL] if usual else []), _BY,
        *([f"{target} accuracy, the target", "its 95 % interval"] if (target := _target(arms)) else []),
        *([head(baseline, _arm(arms, baseline).first.target)] if baseline else []),
        *(["train accuracy", f"train - {split} (points)"] if usual else []), f"{split} loss", *more,
        "best epoch", "parameters trained", _OF, "s / epoch", "seconds", "images/s",
    ]  # fmt: skip


def rows(arms: Sequence[ShownArm], baseline: str = "", ensembles: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """Return a row for each arm and each ensemble, then chance and the commonest class."""
    against = {each.second: each.short for each in differences(arms, baseline)} if baseline else {}
    found = [_row(arm, arms, [against.get(arm.name, "")] if baseline else []) for arm in arms]
    answers, heads, split = arms[0].first.answers, columns(arms, baseline), arms[0].first.split
    found += [_ensemble_row(each, heads, split) for each in ensembles]
    if answers is not None and judged_by(arms) == selection.USUAL:
        labels = answers.label
        classes = arms[0].first.plan.classes
        common = np.bincount(labels, minlength=classes).max() / len(labels)
        for name, accuracy in (("chance", 1 / classes), ("the commonest class", float(common))):
            cells = tuple(f"{accuracy:.1%}" if head == f"{split} accuracy" else "" for head in heads)
            found.append(Row(name, cells, reference=True))
    return found


def table(
    arms: Sequence[ShownArm], baseline: str = "", ensembles: Sequence[Mapping[str, Any]] = ()
) -> tuple[list[str], list[Row], list[str]]:
    """Return `columns` and `rows` as the page shows them, and what is said beneath them.

    Columns of intervals are left out where no arm has one, and wide ones that say the same of all arms: a sentence says it.
    """
    heads, found = columns(arms, baseline), rows(arms, baseline, ensembles)
    intervals = [place for place, head in enumerate(heads) if head.startswith(_INTERVAL)]
    without = [place for place in intervals if not any(row.cells[place] for row in found)]
    no_interval, notes = without == intervals, list[str]()
    for name, told in _ALIKE.items():
        said = set() if name == _BY and no_interval else {row.cells[heads.index(name)] for row in found} - {""}
        if len(said) <= 1:
            notes += [told.format(each) for each in said]
            without.append(heads.index(name))
    kept = [place for place in range(len(heads)) if place not in without]
    shown = [replace(row, cells=tuple(row.cells[place] for place in kept)) for row in found]
    return [heads[place] for place in kept], shown, notes


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
    if known["low"] is not None:
        over = "seeds" if arm.folds is None else "seeds and folds"
        return known["mean"], Interval(known["low"], known["high"]), f"Student's t over {known['n']} {over}"
    answers = arm.first.answers if by == selection.USUAL else None
    if known["n"] > 1 or answers is None:
        return known["mean"], None, f"mean of {known['n']}" if known["n"] > 1 else ""
    right = answers.right
    return known["mean"], statistics.wilson(int(right.sum()), len(right)), f"Wilson, {len(right):,} images, one run"


def sentence(arms: Sequence[ShownArm], baseline: str = "") -> str:
    """Return the result in one sentence. Of arms with [adapt] it tells source and target apart; their difference is on the target."""
    best = arms[0]
    by, target = metric(arms), best.first.target
    mean, interval, kind = interval_of(best)
    accuracy, range_ = _on_target(best, target) if target else ("", "")
    if target and not np.isfinite(mean):  # every image of the source is trained on
        text = f"{best.name} has {accuracy or 'an unknown'} accuracy on the test images of {target}, the target"
        text += f" (95 % interval {range_} over {len(best.runs)} seeds)" if range_ else ""
    else:
        usual, leading = judged_by(arms) == selection.USUAL, [_leading(best, name) for name in _leads(arms)]
        text = " and ".join([*leading, *([f"{mean:.1%} accuracy"] if usual else [])])
        text = f"{best.name} has {text} on the {best.first.split} images"
        text += " of the source" if target else ""
        text += "" if interval is None or not usual else f" (95 % interval {interval.low:.1%} to {interval.high:.1%}; {kind})"
        text += f", and {accuracy} on those of {target}, the target" if accuracy else ""
    if len(arms) == 1:
        return f"{text}."
    chosen, joined = "It is the best by validation", ","
    if not np.isfinite(best.worth):
        chosen, joined = "Without validation images no arm is chosen", f". {best.name} is"
    rest = [difference for difference in differences(arms, baseline) if best.name in (difference.first, difference.second)]
    if not rest:
        return f"{text}. {chosen}."
    other = rest[0].first if rest[0].second == best.name else rest[0].second
    against = _difference(_arm(arms, other), best)  # this way round, so that the proof has the sign of the difference
    assert against is not None  # as the other way round
    proof = against.over_seeds or (against.tests[0] if against.tests else "")
    unit = "points" if by == selection.USUAL else "points of accuracy"
    same = f"the same images{f' of {target}' if target else ''}"
    return f"{text}. {chosen}{joined} {against.difference} {unit} from {other} on {same} ({proof})."


def differences(arms: Sequence[ShownArm], baseline: str = "") -> list[Difference]:
    """Compare arms on the same images, which are the target's with [adapt].

    All are compared with the baseline; without one all pairs, or of many arms each with the best by validation.
    """
    if baseline:
        chosen = _arm(arms, baseline)
        pairs = [(arm, chosen) for arm in arms if arm is not chosen]
    elif len(arms) <= _ALL_PAIRS:
        pairs = list(itertools.combinations(arms, 2))
    else:
        pairs = [(arms[0], other) for other in arms[1:]]
    return [found for better, other in pairs if (found := _difference(other, better)) is not None]


def _difference(first: ShownArm, second: ShownArm) -> Difference | None:
    """Compare two arms run by run, where both have the same seed, fold and images."""
    found = arm_differences.difference(_answers(second), _answers(first))
    if found is None:
        return None
    tests = [
        f"{run_folder.label('', seed, fold).removeprefix(', ')}: {test.only_second} images only {second.name} has right, "
        f"{test.only_first} only {first.name}; exact McNemar {p_value(test.p)}"
        for (seed, fold), test in found.runs.items()
    ]
    over = found.over_seeds
    words = "" if over is None else (
        f"{points(over.mean)} points, 95 % interval {points(over.interval.low)} to {points(over.interval.high)}, "
        f"paired t over {over.n} seeds, {p_value(over.p)}"
    )  # fmt: skip
    return Difference(
        first.name,
        second.name,
        points(found.mean),
        tuple(tests),
        words,
        found.why_none,
        short(arm_differences.to_record(found)),
    )


def _answers(arm: ShownArm) -> dict[tuple[int, int | None], Answers | None]:
    return {(run.result.seed, run.result.fold): run.compared for run in arm.runs}


def _arm(arms: Sequence[ShownArm], name: str) -> ShownArm:
    return next(arm for arm in arms if arm.name == name)


def _more(arms: Sequence[ShownArm]) -> list[str]:
    """The metrics beside accuracy, loss and those that the result begins with that some arm has."""
    return [name for name in tasks.metric_labels() if name not in _leads(arms) and any(arm.summary(name) for arm in arms)]


def _leads(arms: Sequence[ShownArm]) -> list[str]:
    """The metrics that the result begins with: the task's own, and the one that chose the epochs; accuracy is not among them."""
    return [name for name in dict.fromkeys((judged_by(arms), metric(arms))) if name != selection.USUAL]


def _leading(arm: ShownArm, by: str) -> str:
    """Return a metric that a sentence on an arm begins with, "Dice 0.812"."""
    text, range_ = _mean(arm, by)
    return f"{tasks.metric_label(by)} {text or 'not defined'}{f' (95 % interval {range_})' if range_ else ''}"


def _mean(arm: ShownArm, by: str) -> tuple[str, str]:
    """Return the mean of a metric over an arm's runs, and its interval over seeds; "" for what is not known."""
    mean, interval, _ = interval_of(arm, by)
    percent = tasks.metric_labels()[by].percent
    text = _shown(mean, percent=percent) if np.isfinite(mean) else ""
    ends = () if interval is None else (interval.low, interval.high)
    return text, " to ".join(_shown(end, percent=percent) for end in ends)


def _target(arms: Sequence[ShownArm]) -> str:
    """Return the target of arms with [adapt]; "" where they have none."""
    return next((arm.first.target for arm in arms if arm.first.target), "")


def _on_target(arm: ShownArm, target: str) -> tuple[str, str]:
    """Return the mean accuracy of an arm on the target, and its interval over seeds."""
    found = results.over_runs([dict(run.result.also.get(target, {})) for run in arm.runs], arm.folds).get("accuracy")
    if found is None:
        return "", ""
    return f"{found['mean']:.1%}", "" if found["low"] is None else f"{found['low']:.1%} to {found['high']:.1%}"


def _row(arm: ShownArm, arms: Sequence[ShownArm], against: Sequence[str]) -> Row:
    """Return the row of an arm in the table of all arms."""
    main, target = judged_by(arms), _target(arms)
    mean, interval, kind = interval_of(arm, main)
    usual = main == selection.USUAL
    train = [value for run in arm.runs if (value := run.train_accuracy) is not None]
    trained = numbers.fmean(train) if train else None
    loss = arm.summary("loss")
    metrics = tasks.metric_labels()
    found = {name: arm.summary(name) for name in _more(arms)}
    times = [line["seconds"] for run in arm.runs for line in run.metrics]
    rates = [rate for run in arm.runs for line in run.metrics if (rate := line.get("images_per_second")) is not None]
    result = arm.first.result
    known = bool(np.isfinite(mean))  # else the source has no held-out images
    return Row(
        arm.name,
        (
            str(len(arm.runs)),
            *(text for name in _leads(arms) for text in _mean(arm, name)),
            *([f"{mean:.1%}" if known else ""] if usual else []),
            *(["" if interval is None else f"{interval.low:.1%} to {interval.high:.1%}"] if usual else []),
            kind,
            *(_on_target(arm, target) if target else ()),
            *against,
            *(["" if trained is None else f"{trained:.1%}"] if usual else []),
            *(["" if trained is None or not known else f"{(trained - mean) * 100:+.1f}"] if usual else []),
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


def _ensemble_row(record: Mapping[str, Any], heads: Sequence[str], split: str) -> Row:
    """Return the row of an ensemble, whose cells are of the same columns."""
    scores, known = record[split], tasks.metric_labels()
    labels = {head: name for name, each in known.items() for head in (each.label, f"{split} {each.label}")}
    cells = dict.fromkeys(heads, "")
    cells["runs"] = str(sum(len(run["members"]) for run in record["runs"]))
    if scores:
        accuracy, usual = scores["accuracy"], f"{split} accuracy" in heads
        cells[f"{split} loss"] = f"{scores['loss']['mean']:.3f}"
        cells |= {f"{split} accuracy": f"{accuracy['mean']:.1%}"} if usual else {}
        if usual and accuracy["low"] is not None:
            cells[_INTERVAL] = f"{accuracy['low']:.1%} to {accuracy['high']:.1%}"
            cells[_BY] = f"Student's t over {accuracy['n']} runs"
    for name in heads:
        if name in labels and labels[name] in scores:
            cells[name] = _shown(scores[labels[name]]["mean"], percent=known[labels[name]].percent)
    return Row(ensemble_rows.name(record), tuple(cells[head] for head in heads))


def _shown(value: float, *, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3f}"
