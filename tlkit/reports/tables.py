"""Plans and results as rich tables. Nothing here prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tlkit import tasks, units
from tlkit.events import Epoch
from tlkit.plans.plan import Plan
from tlkit.record import run_folder, selection
from tlkit.store.cache import Listed

# A stage's column "training", by `StagePlan.trains`; other words, "from epoch 4", are shown as they are.
_TRAINING = {"never": "frozen", "always": "all epochs"}
_STEPLESS = {"solved": "the head is solved", "nothing": "nothing is trained"}


def plan(shown: Plan) -> RenderableType:
    """Return a plan for a terminal."""
    images, memory = shown.images, shown.memory
    counts = [
        f"images     train {images.train:,}, validation {images.validation:,}, test {images.test:,} ({images.source})",
        f"steps      none: {_STEPLESS[shown.learns]}"
        if shown.learns in _STEPLESS
        else f"steps      {shown.steps_per_epoch:,} an epoch, {shown.steps:,} in all",
    ]
    counts += [f"also test  {name}: {count:,} images" for name, count in images.also.items()]
    lines = [
        *(
            counts
            if images.source != "unknown"
            else ["images     not on this machine yet, so their number and the number of steps are unknown"]
        ),
        f"memory     about {_bytes(memory.total)} at the peak, without Python and torch: weights {_bytes(memory.weights)}, gradients "
        f"{_bytes(memory.gradients)}, optimizer {_bytes(memory.optimizer)}, activations {_bytes(memory.activations)}, "
        f"images {_bytes(memory.images)}" + (f", embeddings {_bytes(memory.embeddings)}" if memory.embeddings else ""),
        *(f"chosen     {choice.what}: {choice.value} ({choice.reason})" for choice in shown.choices),
    ]
    return Group(_title(shown), _stages(shown), _phases(shown), *map(Text, [_input(shown), *lines]), *_remarks(shown), "")


def network(shown: Plan, *, classes: int | None, compiled: bool) -> RenderableType:
    """Return the part of a plan that is known without data: the stages and the preprocessing.

    Args:
        shown: The plan, of any number of classes where that is not known.
        classes: How many; None where the first images will say it.
        compiled: The plan's rates are those of the model; else they are not shown.
    """
    tables, size = shown.tables, units.pixels(shown.image_size)
    outputs = f"{classes} classes" if classes is not None else "classes not known yet"
    learns = _learns(shown) if compiled else "not compiled"
    title = Text(f"{tables.backbone.name} ({_weights(shown)}), {outputs}, {size}, {learns}", style="bold")
    lines = [_input(shown)]
    if classes is None:
        lines.append("head       has no classes yet: the first fit says how many, or Model(.., classes=)")
    return Group(title, _stages(shown, head=classes is not None, rates=compiled), *map(Text, lines), *_remarks(shown), "")


def epochs(shown: Sequence[Epoch]) -> Table:
    """Return a training run's epochs: loss and accuracy on training and validation images, and which is the best."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("epoch", "loss", "accuracy", "val loss", "val accuracy", "seconds", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    best = max((epoch.epoch for epoch in shown if epoch.best), default=0)
    for epoch in shown:
        validation = epoch.validation
        table.add_row(
            str(epoch.epoch), f"{epoch.train['loss']:.3f}", f"{epoch.train['accuracy']:.1%}",
            "" if validation is None else f"{validation['loss']:.3f}", "" if validation is None else f"{validation['accuracy']:.1%}",
            f"{epoch.seconds:.1f}", "best" if epoch.epoch == best else "",
        )  # fmt: skip
    return table


_COLUMNS = (
    "arm", "seeds", "folds", "accuracy", "loss", "train accuracy", "gap (points)", "val accuracy", "epoch", "trainable",
    "seconds", "status",
)  # fmt: skip
_SECOND = (
    "train accuracy",
    "gap (points)",
    "val accuracy",
)  # in a second table where the first would be wider than the terminal
_ENDLESS = 10_000  # columns, more than a table of results has
_ARM = 24  # characters that an arm's name keeps in a narrow terminal


def result(summary: Mapping[str, Any]) -> RenderableType:
    """Return a recipe's result.json for a terminal, the best arm by validation first; a column in which no arm has anything is left out."""
    every = [run for record in summary["arms"].values() for run in run_folder.runs_of(record)]
    by = selection.shared(run.get("select_by", selection.USUAL) for run in every)
    metric = "" if by == selection.USUAL else f" {_label(by)}"
    epoch = (
        f"the best epoch by validation{metric}" if not every or any(run["validation"] for run in every) else "the last epoch"
    )
    ranked = sorted(summary["arms"].items(), key=lambda item: -_rank(item[1], by))
    rows = [_result_row(arm, record) for arm, record in ranked]
    columns = [name for name in _COLUMNS if not rows or any(row[name] for row in rows)]
    scores = f"test accuracy and loss of {epoch}" if "accuracy" in columns else f"{epoch}; there are no test images"
    if "accuracy" not in columns and every and not any(run["status"] == "finished" for run in every):
        scores = "no run is finished"
    title = Text(f"{summary['recipe']}: {scores}", style="italic")
    notes: dict[str, str] = {}  # line -> style
    for arm, record in ranked:
        runs = run_folder.runs_of(record)
        finished = [run for run in runs if run["status"] == "finished"]
        notes |= _fold_notes(arm, finished)
        if more := _more(record["test"], [run["test"] for run in finished]):
            notes[f"metrics    {arm}: {more}"] = "dim"
        for name, test in record.get("also", {}).items():
            also = [run["also"].get(name) for run in finished]
            accuracy = _interval(test.get("accuracy"), _values(also, "accuracy"), percent=True)
            notes[f"also test  {arm}, {name}: accuracy {accuracy}, {_more(test, also)}"] = ""
    notes |= _shared_notes([(arm, run) for arm, record in ranked for run in run_folder.runs_of(record)])
    return Group(title, _Rows(rows, columns), *(Text(line, style=style) for line, style in notes.items()))


@dataclass(frozen=True)
class _Rows:
    """The rows of arms: one table, or two where a terminal is too narrow for accuracies other than that on test images."""

    rows: Sequence[Mapping[str, str]]
    columns: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole, second = self._table(self.columns), [name for name in self.columns if name in _SECOND]
        if not second or console.measure(whole, options=options.update(width=_ENDLESS)).maximum <= options.max_width:
            yield whole
        else:
            yield self._table([name for name in self.columns if name not in _SECOND])
            yield self._table(["arm", *second])

    def _table(self, columns: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in columns:  # in a narrow terminal those without a least width give way
            widest = max((len(row[name]) for row in self.rows), default=0)
            least = {"arm": min(widest, _ARM), "accuracy": widest, "loss": widest}.get(name)
            table.add_column(name, justify="left" if name in ("arm", "status") else "right", no_wrap=True, min_width=least)
        for row in self.rows:
            table.add_row(*(Text(row[name]) for name in columns))
        return table


def _fold_notes(arm: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The test accuracy of each fold, a line for each seed: line -> style."""
    lines: dict[int, list[str]] = {}
    for run in runs:
        if run.get("fold") is not None and run["test"]:
            lines.setdefault(run["seed"], []).append(f"{run['test']['accuracy']:.1%}")
    return {f"folds      {arm}, seed {seed}: accuracy {', '.join(texts)}": "dim" for seed, texts in lines.items()}


def _values(scores: Sequence[Mapping[str, float] | None], metric: str) -> list[float]:
    return [each[metric] for each in scores if each and metric in each]


def _more(test: Mapping[str, Any], scores: Sequence[Mapping[str, float] | None]) -> str:
    """The metrics on the test images other than accuracy and loss, in one line."""
    shown = {
        each.label: _interval(test.get(name), _values(scores, name), percent=each.percent)
        for name, each in tasks.metric_labels().items()
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


def _title(shown: Plan) -> Text:
    return Text(
        f"{shown.recipe} / {shown.arm}: {shown.tables.backbone.name} ({_weights(shown)}), {shown.classes} classes, "
        f"{units.pixels(shown.image_size)}, batch {shown.batch_size}, {_learns(shown)}",
        style="bold",
    )


def _learns(shown: Plan) -> str:
    tables = shown.tables
    steps = f"{tables.optimizer.name}, {tables.schedule.name}"
    return {"solved": f"{tables.head.kind}, solved", "nothing": "evaluated only"}.get(shown.learns, steps)


def _weights(shown: Plan) -> str:
    return "random weights" if shown.tables.backbone.weights == "none" else shown.tables.backbone.weights


def _input(shown: Plan) -> str:
    """The preprocessing of every image, and the augmentation of training images."""
    size, data = shown.image_size, shown.tables.data
    resized = round(size[0] / shown.input.crop), round(size[1] / shown.input.crop)
    short = f"a short side of {resized[0]} px" if size[0] == size[1] else f"cover {units.pixels(resized)}"
    steps = {
        "crop": f"to {short}, centre crop {units.pixels(size)}",
        "pad": f"the whole picture into {units.pixels(size)}, padded with the mean colour",
        "squash": f"the whole picture to {units.pixels(size)}, whatever its shape",
    }
    line = f"input      {shown.input.pixels}; {shown.input.resize} {steps[data.fit]}"
    fixed = f", {data.augment_views} fixed views of each image" if data.augment_views else ""
    return f"{line}; training: {', '.join(each.name for each in data.augment)}{fixed}" if data.augment else line


def _remarks(shown: Plan) -> list[Text]:
    unused = [Text(f"not used   {line}", style="yellow") for line in shown.unused]
    return unused + [Text(f"warning    {line}", style="bold yellow") for line in shown.warnings]


def predictions(rows: Iterable[tuple[str, Sequence[tuple[str, float]]]]) -> Table:
    """Return images with their most probable classes."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for image, ranked in rows:
        for position, (name, probability) in enumerate(ranked):
            table.add_row(Text(image if position == 0 else ""), Text(name), f"{probability:.1%}")
    return table


# What the table shows of stored rows; entry.json and --json hold every fact.
_TOLD = ("content", "backbone", "stages", "form", "weights", "picture size", "size", "resize", "seed")


def cache(folder: str, entries: Sequence[Listed], *, others: Mapping[str, int], limit: int) -> RenderableType:
    """Return the contents of the cache, last used first, its size and its limit."""
    table = Table("content", "made from", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("rows", "size", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in entries:
        origin = ", ".join(f"{name} {_brief(each.origin[name])}" for name in _TOLD if each.origin.get(name) is not None)
        used = datetime.fromtimestamp(each.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(Text(each.kind), Text(origin or "unknown"), f"{each.rows:,}", units.size(each.bytes), used)
    total = sum(each.bytes for each in entries)
    lines = [f"{folder}: {units.size(total)} of at most {units.size(limit)}"]
    lines += [f"{name}: {units.size(count)}" for name, count in others.items()]
    return Group(*([table] if entries else []), Text(lines[0], style="bold"), *(Text(line, style="dim") for line in lines[1:]))


def _brief(value: object) -> str:
    """The first 8 characters of a digest; the first and last of many stages."""
    text = str(value)
    names = text.split(", ")
    if len(names) > 3:  # stages
        return f"{names[0]} .. {', '.join(names[-2:]) if names[-1] == 'pooled' else names[-1]}"
    return text[:8] if len(text) >= 32 and set(text) <= set("0123456789abcdef") else text


def _stages(shown: Plan, *, head: bool = True, rates: bool = True) -> Table:
    """The stages; `head` says whether the size of the head is known, `rates` whether the rates are."""
    table = Table("stage", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("parameters", "trainable", "training", "lr group", "peak lr", "GFLOPs", "output"):
        table.add_column(name, justify="left" if name in ("training", "lr group") else "right", no_wrap=True)
    for row in shown.stages:
        known = head or row is not shown.stages[-1]
        table.add_row(
            row.name,
            f"{row.parameters:,}" if known else "?",
            f"{row.trained:,}" if known else "?",
            _TRAINING.get(row.trains, row.trains),
            Text(", ".join(row.groups) if rates else ""),
            ", ".join(f"{rate:g}" for rate in row.peak_lr) if rates else "",
            f"{row.flops / 1e9:.3f}" if known else "?",
            "x".join(map(str, row.output)) if known else "?",
            style="dim" if row.trains == "never" else "",
        )
    total, trained, flops = shown.total, shown.trained, shown.flops_per_image
    if not head:
        last = shown.stages[-1]
        total, trained, flops = total - last.parameters, trained - last.trained, flops - last.flops
    label = "total" if head else "backbone"
    table.add_row(label, f"{total:,}", f"{trained:,}", "", "", "", f"{flops / 1e9:.3f}", "", style="bold")
    return table


def _phases(shown: Plan) -> Table:
    table = Table(
        "phase", "epochs", "steps", "fixed prefix", "trainable", "why", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for number, phase in enumerate(shown.phases, start=1):
        prefix = f"{phase.prefix[0]} .. {phase.prefix[-1]}" if len(phase.prefix) > 1 else "".join(phase.prefix) or "none"
        epochs = str(phase.first) if phase.first == phase.last else f"{phase.first} to {phase.last}"
        steps = f"{phase.steps:,}" if shown.images.source != "unknown" else "?"
        table.add_row(str(number), epochs, steps, prefix, f"{phase.trained:,}", phase.reason)
    return table


def _interval(value: Mapping[str, Any] | None, values: Sequence[float], *, percent: bool) -> str:
    """Mean and half of its 95 % interval, or both of its ends where it ends at 0 or 1; of two runs the mean and both values."""
    if value is None:
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    mean, low, high = value["mean"], value["low"], value["high"]
    text = f"{mean * scale:.{digits}f}{'%' if percent else ''}"
    if low is None:
        shown = ", ".join(f"{each * scale:.{digits}f}" for each in values)
        return f"{text} ({shown})" if len(values) > 1 else text
    if math.isclose(high - mean, mean - low, abs_tol=1e-9):
        return f"{text} ± {(high - mean) * scale:.{digits}f}"
    return f"{text} ({low * scale:.{digits}f} to {high * scale:.{digits}f})"


def _result_row(arm: str, record: Mapping[str, Any]) -> dict[str, str]:
    """The cells of an arm by column; "" where it has no value."""
    runs = run_folder.runs_of(record)
    validated, tested = _validated(record), [run["test"] for run in runs if run["status"] == "finished"]
    trained = _values([run.get("train") for run in runs if run["status"] == "finished"], "accuracy")
    gaps = [run["gap"] for run in runs if run["status"] == "finished" and run.get("gap") is not None]
    folds = {run["fold"] for run in runs if run.get("fold") is not None}
    return {
        "arm": arm,
        "seeds": str(len(record["seeds"])),
        "folds": str(len(folds)) if folds else "",
        "accuracy": _interval(record["test"].get("accuracy"), _values(tested, "accuracy"), percent=True),
        "loss": _interval(record["test"].get("loss"), _values(tested, "loss"), percent=False),
        "train accuracy": _interval(record.get("train", {}).get("accuracy"), trained, percent=True),
        "gap (points)": _interval(record.get("gap"), gaps, percent=True).replace("%", ""),
        "val accuracy": f"{sum(validated) / len(validated):.1%}" if validated else "",
        "epoch": ", ".join(sorted({str(run["best_epoch"]) for run in runs if run["best_epoch"]})),
        "trainable": _count(runs[0]["parameters"]["trained"]),
        "seconds": f"{sum(run['seconds'] for run in runs):.0f}",
        "status": ", ".join(sorted({run["status"] for run in runs})),
    }


def _rank(record: Mapping[str, Any], by: str) -> float:
    """An arm's mean score on the validation images, for its place in the table; arms without such keep the recipe's order."""
    validated = [selection.worth(run["validation"], by)[0] for run in run_folder.runs_of(record) if run["validation"]]
    return sum(validated) / len(validated) if validated else -math.inf


def _label(metric: str) -> str:
    labels = tasks.metric_labels()
    return labels[metric].label if metric in labels else metric


def _validated(record: Mapping[str, Any]) -> list[float]:
    return [run["validation"]["accuracy"] for run in run_folder.runs_of(record) if run["validation"]]


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"
