"""Plans, results and plugins as rich tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit.plans import Plan
from tlkit.plugin import Backbone, Convention, Dataset, Download, Head
from tlkit.registry import Entry


def plan(shown: Plan) -> RenderableType:
    """Return a plan for a terminal."""
    optimizer, schedule = shown.tables.optimizer.name, shown.tables.schedule.name
    title = (
        f"{shown.recipe} / {shown.arm}: {shown.tables.backbone.name} ({shown.tables.backbone.weights}), "
        f"{shown.classes} classes, {shown.image_size} px, batch {shown.batch_size}, {optimizer}, {schedule}"
    )
    parts: list[RenderableType] = [Text(title, style="bold"), _stages(shown), _phases(shown)]
    images = shown.images
    parts.append(f"images     train {images.train:,}, validation {images.validation:,}, test {images.test:,} ({images.source})")
    parts.append(f"steps      {shown.steps_per_epoch:,} an epoch, {shown.steps:,} in {shown.epochs} epochs")
    memory = shown.memory
    parts.append(
        f"memory     about {_bytes(memory.total)} at its peak beside Python and torch: weights {_bytes(memory.weights)}, gradients "
        f"{_bytes(memory.gradients)}, optimizer {_bytes(memory.optimizer)}, activations {_bytes(memory.activations)}, images {_bytes(memory.images)}"
    )
    parts += [f"chosen     {choice.what} = {choice.value}: {choice.reason}" for choice in shown.choices]
    parts += [Text(f"unused     {line}", style="yellow") for line in shown.unused]
    parts += [Text(f"warning    {line}", style="bold yellow") for line in shown.warnings]
    return Group(*parts, "")


def result(summary: Mapping[str, Any]) -> RenderableType:
    """Return a recipe's result.json for a terminal, best arm first."""
    table = Table("arm", title=f"{summary['recipe']}: best epoch by validation, mean over seeds", title_justify="left")
    for name in ("seeds", "test accuracy", "test loss", "validation accuracy", "best epoch", "trained", "seconds", "status"):
        table.add_column(name, justify="right" if name != "status" else "left")
    notes: list[RenderableType] = []
    for arm, record in sorted(summary["arms"].items(), key=lambda item: -_mean(item[1], "accuracy")):
        runs = list(record["seeds"].values())
        statuses = ", ".join(sorted({run["status"] for run in runs}))
        best = sorted({str(run["best_epoch"]) for run in runs if run["best_epoch"]})
        validated = [run["validation"]["accuracy"] for run in runs if run["validation"]]
        table.add_row(
            arm,
            str(len(runs)),
            _interval(record["test"].get("accuracy"), percent=True),
            _interval(record["test"].get("loss"), percent=False),
            f"{sum(validated) / len(validated):.1%}" if validated else "",
            ", ".join(best),
            _count(runs[0]["parameters"]["trained"]),
            f"{sum(run['seconds'] for run in runs):.0f}",
            statuses,
        )
        for run in runs:
            label = f"{arm}, seed {run['seed']}"
            notes += [Text(f"warning    {label}: {line}", style="bold yellow") for line in run["warnings"]]
            if run["skipped_images"]:
                notes.append(Text(f"skipped    {label}: {run['skipped_images']} images that cannot be decoded", style="yellow"))
            if not run["exact"]:
                notes.append(
                    Text(f"not exact  {label}: continued on another machine, or with other threads or versions", style="yellow")
                )
    return Group(table, *notes)


def plugins(kind: str, entries: Sequence[Entry]) -> Table:
    """Return what is installed of one kind."""
    table = Table(kind, "distribution", "version", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    names = [entry.name for entry in entries]
    for entry in entries:
        doubled = "  (offered twice: uninstall one)" if names.count(entry.name) > 1 else ""
        table.add_row(entry.name, entry.distribution, entry.version + doubled)
    return table


def plugin(name: str, entry: Entry, shown: Backbone | Dataset | Head) -> RenderableType:
    """Return what a recipe's author needs to know of a plugin."""
    if isinstance(shown, Backbone):
        return _backbone(name, entry, shown)
    if isinstance(shown, Dataset):
        return _dataset(name, entry, shown)
    return Group(_facts(name, entry, shown.summary), *_options("head.options", shown.options))


def _backbone(name: str, entry: Entry, shown: Backbone) -> RenderableType:
    table = _facts(name, entry, shown.summary)
    table.add_row("stages", ", ".join(shown.stages))
    table.add_row("features", str(shown.features))
    table.add_row("image size", f"{shown.image_size} px, at least {shown.minimum_size}")
    table.add_row("names as in", shown.library)
    table.add_row("input of random weights", _convention(shown.input))
    for weights, each in shown.weights.items():
        source = each.source.url if isinstance(each.source, Download) else each.source
        table.add_row(
            f"weights {weights}", f"{each.summary}\n{source}\ninput {_convention(each.input)}\nlicence {each.licence}"
        )
    return Group(table, *_options("backbone.options", shown.options))


def _dataset(name: str, entry: Entry, shown: Dataset) -> RenderableType:
    table = _facts(name, entry, shown.summary)
    if shown.classes:
        table.add_row("classes", str(shown.classes))
    if shown.nominal:
        table.add_row("images", ", ".join(f"{split} {count:,}" for split, count in shown.nominal.items()))
    if shown.files:
        table.add_row("files", ", ".join(shown.files))
    for each in shown.downloads:
        table.add_row("download", f"{each.url} ({each.checksum})")
    if shown.licence:
        table.add_row("licence", shown.licence)
    return Group(table, *_options("data.options", shown.options))


def predictions(rows: Iterable[tuple[str, Sequence[tuple[str, float]]]]) -> Table:
    """Return images with their most probable classes."""
    table = Table("image", "class", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("probability", justify="right")
    for image, ranked in rows:
        for position, (name, probability) in enumerate(ranked):
            table.add_row(image if position == 0 else "", name, f"{probability:.1%}")
    return table


def _stages(shown: Plan) -> Table:
    table = Table("stage", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("parameters", "trained"):
        table.add_column(name, justify="right")
    table.add_column("trains")
    table.add_column("group")
    for name in ("peak lr", "GFLOPs", "output"):
        table.add_column(name, justify="right")
    for row in shown.stages:
        shape = " x ".join(map(str, row.output))
        rates = ", ".join(f"{rate:g}" for rate in row.peak_lr)
        cells = (
            f"{row.parameters:,}",
            f"{row.trained:,}",
            row.trains,
            ", ".join(row.groups),
            rates,
            f"{row.flops / 1e9:.3f}",
            shape,
        )
        table.add_row(row.name, *cells, style="dim" if row.trains == "never" else "")
    table.add_row(
        "total", f"{shown.total:,}", f"{shown.trained:,}", "", "", "", f"{shown.flops_per_image / 1e9:.3f}", "", style="bold"
    )
    return table


def _phases(shown: Plan) -> Table:
    table = Table("phase", "epochs", "steps", "fixed prefix", "trained", "why", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, phase in enumerate(shown.phases, start=1):
        prefix = f"{phase.prefix[0]} .. {phase.prefix[-1]}" if len(phase.prefix) > 1 else "".join(phase.prefix) or "none"
        table.add_row(
            str(number), f"{phase.first} to {phase.last}", f"{phase.steps:,}", prefix, f"{phase.trained:,}", phase.reason
        )
    return table


def _facts(name: str, entry: Entry, summary: str) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(Text(name, style="bold"), summary)
    table.add_row("from", f"{entry.distribution} {entry.version}")
    return table


def _options(place: str, model: type[BaseModel] | None) -> list[RenderableType]:
    if model is None:
        return []
    table = Table(f"[{place}]".replace("[", r"\["), "default", "what", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        table.add_row(name, "" if default is None else str(default), field.description or "")
    return ["", table]


def _convention(shown: Convention) -> str:
    scale = "0..1" if shown.range == 1 else f"0..{shown.range:g}"
    numbers = [", ".join(f"{value:g}" for value in values) for values in (shown.mean, shown.std)]
    return f"{shown.channels.upper()} {scale}, mean {numbers[0]}, std {numbers[1]}, {shown.resize}, centre crop {shown.crop:g}"


def _interval(value: Mapping[str, Any] | None, *, percent: bool) -> str:
    if value is None:
        return ""
    form = "{:.1%}" if percent else "{:.3f}"
    text = form.format(value["mean"])
    return text if value["low"] is None else f"{text} ({form.format(value['low'])} to {form.format(value['high'])})"


def _mean(record: Mapping[str, Any], metric: str) -> float:
    found = record["test"].get(metric)
    return float(found["mean"]) if found else -1.0


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"
