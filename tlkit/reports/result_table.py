"""A recipe's result.json as rich tables. Nothing here prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tlkit import tasks, units
from tlkit.errors import first_few
from tlkit.record import domains, run_folder, selection
from tlkit.reports import differences, domain_rows, ensemble_rows, tables_that_fit

_COLUMNS = (
    "arm", "seeds", "folds", "accuracy", "loss", "difference", "train accuracy", "gap (points)", "val accuracy", "epoch", "trainable",
    "seconds", "status",
)  # fmt: skip
_LATER = (  # in further tables where the first would be wider than the terminal
    ("train accuracy", "gap (points)", "val accuracy", "difference"),
    ("epoch", "trainable", "seconds"),
)


def result(summary: Mapping[str, Any]) -> RenderableType:
    """Return a recipe's result.json for a terminal, the best arm by validation first; a column in which no arm has anything is left out."""
    every = [run for record in summary["arms"].values() for run in run_folder.runs_of(record)]
    by = selection.shared(run.get("select_by", selection.USUAL) for run in every)
    metric = "" if by == selection.USUAL else tasks.metric_label(by)
    epoch = selection.epoch_in_words(by, validated=not every or any(run["validation"] for run in every), label=metric)
    main = selection.shared(tasks.headline(scores) for run in every if (scores := run["test"] or run["validation"]))
    ranked = sorted(summary["arms"].items(), key=lambda item: -_rank(item[1], by))
    combined = summary.get("ensembles", ())
    rows = [_result_row(arm, record, main) for arm, record in ranked] + [
        _ensemble_row(each, main) for each in combined if each["test"] or each["validation"]
    ]
    columns = [name for name in _COLUMNS if not rows or any(row[name] for row in rows)]
    tested = "accuracy" in columns or "loss" in columns
    scores = f"test {tasks.metric_label(main)} and loss of {epoch}" if tested else f"{epoch}; there are no test images"
    if not tested and every and not any(run["status"] == "finished" for run in every):
        scores = "no run is finished"
    title = Text(f"{summary['recipe']}: {scores}", style="italic")
    notes: dict[str, str] = {}  # line -> style
    thresholds: dict[str, str] = {}
    for arm, record in ranked:
        runs = run_folder.runs_of(record)
        finished = [run for run in runs if run["status"] == "finished"]
        notes |= _fold_notes(arm, finished, main)
        if more := _more(record["test"], [run["test"] for run in finished], main):
            notes[f"metrics    {arm}: {more}"] = "dim"
        if told := tasks.note(record["test"] or next((run["validation"] for run in finished if run["validation"]), {})):
            thresholds[f"threshold  {told}"] = "dim"
        for name, test in record.get("also", {}).items():
            also = [run["also"].get(name) for run in finished]
            score = _interval(test.get(main), _values(also, main), percent=selection.percent(main))
            notes[f"also test  {arm}, {name}: {tasks.metric_label(main)} {score}, {_more(test, also, main)}"] = ""
    notes |= thresholds | dict.fromkeys(domain_rows.notes(dict(ranked)), "")
    of_members = {run.get("folder", ""): run["test"] for run in every}
    notes |= dict.fromkeys((line for each in combined for line in ensemble_rows.notes(each, main, of_members)), "")
    baseline = summary.get("baseline", "")
    known = run_folder.runs_of(summary["arms"][baseline]) if baseline in summary["arms"] else []
    if baseline and not any(run["status"] == "finished" for run in known):
        notes[f"baseline   {baseline} has no finished run, so no arm is compared with it"] = "yellow"
    elif baseline and (alone := _not_compared(summary["arms"], baseline)):
        notes[
            f"baseline   {first_few(alone)}: not compared with {baseline}; that takes runs of the same seed on the same images, "
            "with one class each"
        ] = "yellow"
    notes |= {f"{'warning':<10} {line}": "bold yellow" for line in summary.get("warnings", ())}
    notes |= _shared_notes([(arm, run) for arm, record in ranked for run in run_folder.runs_of(record)])
    return Group(
        title,
        tables_that_fit.Rows(rows, columns, ("arm", "status"), _heads(summary, main), _LATER),
        *(Text(line, style=style) for line, style in notes.items()),
    )


def _heads(summary: Mapping[str, Any], main: str) -> dict[str, str]:
    """The heads of columns that have another than their name, in a table of a task's metric."""
    baseline, label = summary.get("baseline", ""), tasks.metric_label(main)
    against = differences.head(baseline, _target(summary["arms"].get(baseline, {})))
    return {"difference": against, "accuracy": label, "val accuracy": f"val {label}"}


def _target(arm: Mapping[str, Any]) -> str:
    """The target of an arm with [adapt]; else ""."""
    return str(arm[domains.KEY]["target"]) if domains.KEY in arm else ""


def _not_compared(arms: Mapping[str, Mapping[str, Any]], baseline: str) -> list[str]:
    """The arms with a finished run that have no difference to the baseline."""
    return [
        name
        for name, record in arms.items()
        if name != baseline
        and "difference" not in record
        and any(run["status"] == "finished" for run in run_folder.runs_of(record))
    ]


def _fold_notes(arm: str, runs: Sequence[Mapping[str, Any]], main: str) -> dict[str, str]:
    """The main test score of each fold, a line for each seed: line -> style."""
    lines: dict[int, list[str]] = {}
    for run in runs:
        if run.get("fold") is not None and run["test"]:
            lines.setdefault(run["seed"], []).append(selection.value(run["test"], main))
    return {
        f"folds      {arm}, seed {seed}: {tasks.metric_label(main)} {', '.join(texts)}": "dim" for seed, texts in lines.items()
    }


def _values(scores: Sequence[Mapping[str, float] | None], metric: str) -> list[float]:
    return [each[metric] for each in scores if each and metric in each]


def _more(test: Mapping[str, Any], scores: Sequence[Mapping[str, float] | None], main: str) -> str:
    """The metrics on the test images that are not columns, in one line."""
    shown = {
        each.label: _interval(test.get(name), _values(scores, name), percent=each.percent)
        for name, each in tasks.metric_labels().items()
        if name != main
    }
    return ", ".join(f"{label} {text}" for label, text in shown.items() if text)


def _shared_notes(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The notes of all runs, each said once with the runs that it is of: line -> style."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for arm, run in runs:
        for note in _notes(run):
            found.setdefault(note, []).append(run_folder.label(arm, run["seed"], run.get("fold")))
    lines = {}
    for (kind, text, style), labels in found.items():
        if len(labels) == len(runs) > 1:
            label = f"all {len(runs)} runs"
        else:
            label = "; ".join(labels) if len(labels) <= 3 else f"{len(labels)} of {len(runs)} runs"
        lines[f"{kind:<10} {label}: {text}"] = style
    return lines


def _notes(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """A run's warnings, skipped images and why it may not be exact: (kind, text, style)."""
    notes = [("warning", line, "bold yellow") for line in run["warnings"]]
    if run["skipped_images"]:
        notes.append(("skipped", f"{units.images(run['skipped_images'])} that cannot be decoded", "yellow"))
    if not run["exact"]:
        notes.append(("not exact", run["why_inexact"], "yellow"))
    return notes


def _interval(value: Mapping[str, Any] | None, values: Sequence[float], *, percent: bool) -> str:
    """Mean and half of its 95 % interval, or both of its ends where it ends at 0 or 1; of two runs the mean and both values.

    Where all runs have the same value it is the mean alone: an interval without width says nothing.
    """
    if value is None:
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    mean, low, high = value["mean"], value["low"], value["high"]
    text = f"{mean * scale:.{digits}f}{'%' if percent else ''}"
    if low is None:
        shown = ", ".join(f"{each * scale:.{digits}f}" for each in values)
        return f"{text} ({shown})" if len(values) > 1 else text
    if low == high:
        return text
    if math.isclose(high - mean, mean - low, abs_tol=1e-9):
        return f"{text} ± {(high - mean) * scale:.{digits}f}"
    return f"{text} ({low * scale:.{digits}f} to {high * scale:.{digits}f})"


def _result_row(arm: str, record: Mapping[str, Any], main: str) -> dict[str, str]:
    """The cells of an arm by column; "" where it has no value. Of training images there is no metric but accuracy."""
    runs = run_folder.runs_of(record)
    validated, tested = _validated(record, main), [run["test"] for run in runs if run["status"] == "finished"]
    trained = _values([run.get("train") for run in runs if run["status"] == "finished"], "accuracy")
    gaps = [run["gap"] for run in runs if run["status"] == "finished" and run.get("gap") is not None]
    train, gap = (record.get("train", {}).get("accuracy"), record.get("gap")) if main == selection.USUAL else (None, None)
    folds = {run["fold"] for run in runs if run.get("fold") is not None}
    return {
        "arm": arm,
        "seeds": str(len(record["seeds"])),
        "folds": str(len(folds)) if folds else "",
        "accuracy": _interval(record["test"].get(main), _values(tested, main), percent=selection.percent(main)),
        "loss": _interval(record["test"].get("loss"), _values(tested, "loss"), percent=False),
        "difference": differences.short(record["difference"]) if "difference" in record else "",
        "train accuracy": _interval(train, trained, percent=True),
        "gap (points)": _interval(gap, gaps, percent=True).replace("%", ""),
        "val accuracy": selection.value({main: sum(validated) / len(validated)}, main) if validated else "",
        "epoch": ", ".join(sorted({str(run["best_epoch"]) for run in runs if run["best_epoch"]})),
        "trainable": _count(runs[0]["parameters"]["trained"]),
        "seconds": f"{sum(run['seconds'] for run in runs):.0f}",
        "status": ", ".join(sorted({run["status"] for run in runs})),
    }


def _ensemble_row(record: Mapping[str, Any], main: str) -> dict[str, str]:
    """The cells of an ensemble by column."""
    scores = {split: [run[split] for run in record["runs"]] for split in ("validation", "test")}
    folds = {run["fold"] for run in record["runs"] if run["fold"] is not None}
    seeds = {run["seed"] for run in record["runs"]}
    return dict.fromkeys(_COLUMNS, "") | {
        "arm": ensemble_rows.name(record),
        "seeds": str(len(record["runs"][0]["members"]) if record["of"] == "seeds" else len(seeds)),
        "folds": str(len(folds)) if folds else "",
        "accuracy": _interval(record["test"].get(main), _values(scores["test"], main), percent=selection.percent(main)),
        "loss": _interval(record["test"].get("loss"), _values(scores["test"], "loss"), percent=False),
        "val accuracy": selection.value({main: record["validation"][main]["mean"]}, main)
        if main in (record["validation"] or {})
        else "",
        "status": "ensemble",
    }


def _rank(record: Mapping[str, Any], by: str) -> float:
    """An arm's mean score on the validation images, or of the target, for its place in the table; arms without such keep the recipe's order."""
    scores = [selection.decisive(run["validation"], run.get("target"), by) for run in run_folder.runs_of(record)]
    known = [selection.worth(each, by)[0] for each in scores if each]
    return sum(known) / len(known) if known else -math.inf


def _validated(record: Mapping[str, Any], main: str) -> list[float]:
    return [run["validation"][main] for run in run_folder.runs_of(record) if main in (run["validation"] or {})]


def _count(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"
