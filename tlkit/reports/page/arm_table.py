"""The table of arms: a row for each arm, each ensemble, and what guessing would have."""

from __future__ import annotations

import statistics as numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlkit import tasks
from tlkit.record import selection
from tlkit.reports import ensemble_rows
from tlkit.reports.differences import head
from tlkit.reports.page import comparison
from tlkit.reports.page.arm_scores import arm_named, interval_of, judged_by, leads, mean_of, on_target
from tlkit.reports.page.runs import ShownArm

_INTERVAL, _BY, _TRAINED, _OF = "95 % interval", "interval by", "parameters trained", "of"  # heads of columns
# What is said beneath the table where all arms have the same in a column.
_ALIKE = {
    _BY: "How the 95 % intervals were computed: {}.",
    _OF: "Each network has {} parameters.",
    _TRAINED: "Each trains {} parameters.",
}


@dataclass(frozen=True)
class Row:
    """One row of the table of arms; "" where a cell has no value."""

    name: str
    cells: tuple[str, ...]
    reference: bool = False


def columns(arms: Sequence[ShownArm], baseline: str = "") -> list[str]:
    """Return the heads of the table's columns after the arm.

    Args:
        arms: The arms.
        baseline: Name of the arm that the others are compared with; "" for none.
    """
    return [head for head, _ in _pairs(arms[0], arms, baseline, "")]


def rows(arms: Sequence[ShownArm], baseline: str = "", ensembles: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """Return a row for each arm and each ensemble, then chance and the commonest class."""
    against = {each.second: each.short for each in comparison.differences(arms, baseline)} if baseline else {}
    found = [Row(arm.name, tuple(cell for _, cell in _pairs(arm, arms, baseline, against.get(arm.name, "")))) for arm in arms]
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

    Columns without any cell are left out, and wide ones that say the same of all arms: a sentence says it.
    """
    heads, found = columns(arms, baseline), rows(arms, baseline, ensembles)
    intervals = [place for place, head in enumerate(heads) if head.startswith(_INTERVAL)]
    without = [place for place in range(len(heads)) if not any(row.cells[place] for row in found)]
    no_interval, notes = all(place in without for place in intervals), list[str]()
    for name, told in _ALIKE.items():
        said = set() if name == _BY and no_interval else {row.cells[heads.index(name)] for row in found} - {""}
        if len(said) <= 1:
            notes += [told.format(each) for each in said]
            without.append(heads.index(name))
    kept = [place for place in range(len(heads)) if place not in without]
    shown = [replace(row, cells=tuple(row.cells[place] for place in kept)) for row in found]
    return [heads[place] for place in kept], shown, notes


def _more(arms: Sequence[ShownArm]) -> list[str]:
    """The metrics beside accuracy, loss and those that the result begins with that some arm has."""
    return [name for name in tasks.metric_labels() if name not in leads(arms) and any(arm.summary(name) for arm in arms)]


def _target(arms: Sequence[ShownArm]) -> str:
    """Return the target of arms with [adapt]; "" where they have none."""
    return next((arm.first.target for arm in arms if arm.first.target), "")


def _pairs(arm: ShownArm, arms: Sequence[ShownArm], baseline: str, against: str) -> list[tuple[str, str]]:
    """Return the head of each column with an arm's cell; the heads are the same of all arms. `against` is its difference to the baseline."""
    split, target, first = arms[0].first.split, _target(arms), arm.first.result
    mean, interval, kind = interval_of(arm, judged_by(arms))
    found: list[tuple[str, str]] = [("runs", str(len(arm.runs)))]
    for name in leads(arms):
        label = tasks.metric_label(name)
        found += zip((f"{split} {label}", f"{_INTERVAL} of {label}"), mean_of(arm, name), strict=True)
    usual = judged_by(arms) == selection.USUAL
    known = bool(np.isfinite(mean))  # else the source has no held-out images
    if usual:
        between = "" if interval is None else f"{interval.low:.1%} to {interval.high:.1%}"
        found += [(f"{split} accuracy", f"{mean:.1%}" if known else ""), (_INTERVAL, between)]
    found.append((_BY, kind))
    if target:
        found += zip((f"{target} accuracy, the target", "its 95 % interval"), on_target(arm, target), strict=True)
    if baseline:
        found.append((head(baseline, arm_named(arms, baseline).first.target), against))
    if usual:
        train = [value for run in arm.runs if (value := run.train_accuracy) is not None]
        trained = numbers.fmean(train) if train else None
        found.append(("train accuracy", "" if trained is None else f"{trained:.1%}"))
        gap = "" if trained is None or not known else f"{(trained - mean) * 100:+.1f}"
        found.append((f"train - {split} (points)", gap))
    loss = arm.summary("loss")
    found.append((f"{split} loss", "" if loss is None else f"{loss['mean']:.3f}"))
    for name in _more(arms):
        each = arm.summary(name)
        found.append((tasks.metric_label(name), "" if each is None else selection.value({name: each["mean"]}, name)))
    times = [line["seconds"] for run in arm.runs for line in run.metrics]
    rates = [each for run in arm.runs for line in run.metrics if (each := line.get("images_per_second")) is not None]
    return [
        *found,
        ("best epoch", ", ".join(sorted({str(run.result.best_epoch) for run in arm.runs}, key=int))),
        (_TRAINED, f"{first.parameters.trained:,}"),
        (_OF, f"{first.parameters.total:,}"),
        ("s / epoch", f"{numbers.median(times):.1f}" if times else ""),
        ("seconds", f"{sum(run.result.seconds for run in arm.runs):,.0f}"),
        ("images/s", f"{rate:,.{1 if rate < 10 else 0}f}" if rates and (rate := numbers.median(rates)) else ""),
    ]


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
        if usual and accuracy["low"] != accuracy["high"]:  # both None of one or two; equal where all are alike
            cells[_INTERVAL] = f"{accuracy['low']:.1%} to {accuracy['high']:.1%}"
            cells[_BY] = f"Student's t over {accuracy['n']} runs"
    for name in heads:
        if name in labels and labels[name] in scores:
            cells[name] = selection.value({labels[name]: scores[labels[name]]["mean"]}, labels[name])
    return Row(ensemble_rows.name(record), tuple(cells[head] for head in heads))
