"""Epochs, predictions and the contents of the cache as rich tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit import tasks, units
from tlkit.errors import option
from tlkit.events import Epoch
from tlkit.record import selection
from tlkit.reports import plain_table
from tlkit.store.cache import Listed


def epochs(shown: Sequence[Epoch]) -> Table:
    """Return a training run's epochs: loss and accuracy, or the metric of their task, on training and validation images, and which is the best."""
    table = plain_table.of()
    known = {name: value for epoch in shown for name, value in (epoch.validation or {}).items()}
    by = tasks.shown_by(known, tasks.headline(known)) or selection.USUAL
    label, trained = tasks.metric_label(by), by == selection.USUAL  # of training batches there is accuracy alone
    for name in ("epoch", "loss", *([label] if trained else []), "val loss", f"val {label}", "seconds", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    best = max((epoch.epoch for epoch in shown if epoch.best), default=0)
    for epoch in shown:
        validation = epoch.validation
        table.add_row(
            str(epoch.epoch), f"{epoch.train['loss']:.3f}", *([selection.value(epoch.train, by)] if trained else []),
            "" if validation is None else f"{validation['loss']:.3f}", "" if validation is None else selection.value(validation, by),
            f"{epoch.seconds:.1f}", "best" if epoch.epoch == best else "",
        )  # fmt: skip
    return table


def predictions(rows: Iterable[tuple[str, Sequence[tuple[str, float]]]], *, of: str = "probability") -> Table:
    """Return images with their most probable classes, or another number of each class from 0 to 1."""
    table = plain_table.of(gap=3)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column(of, justify="right", no_wrap=True)
    for image, ranked in rows:
        if not ranked:  # no class is probable enough
            table.add_row(Text(image), Text("none", style="dim"), "")
        for position, (name, probability) in enumerate(ranked):
            table.add_row(Text(image if position == 0 else ""), Text(name), f"{probability:.1%}")
    return table


def objects(rows: Iterable[tuple[str, Sequence[tuple[str, int]]]]) -> Table:
    """Return images with the classes of the objects in them."""
    table = plain_table.of(gap=3)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("objects", justify="right", no_wrap=True)
    for image, counted in rows:
        for position, (name, count) in enumerate(counted or [("none", 0)]):
            table.add_row(Text(image if position == 0 else ""), Text(name), f"{count:,}")
    return table


def neighbours(rows: Iterable[tuple[str, str, float]]) -> Table:
    """Return training images with their class and their similarity to an image."""
    table = plain_table.of(gap=3)
    table.add_column("training image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("similarity", justify="right", no_wrap=True)
    for image, label, similarity in rows:
        table.add_row(Text(image), Text(label), f"{similarity:.3f}")
    return table


# What the table shows of stored rows; entry.json and --json hold every fact.
_MOST_ENTRIES = 100  # rows of the table of the cache
_TOLD = ("content", "backbone", "stages", "form", "weights", "picture size", "size", "bands", "resize", "seed")


def cache(folder: str, entries: Sequence[Listed], *, others: Mapping[str, int], limit: int) -> RenderableType:
    """Return the contents of the cache, last used first, its size and its limit."""
    table = plain_table.of("content", "made from", gap=3)
    for name in ("rows", "size", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in entries[:_MOST_ENTRIES]:
        facts = each.origin
        origin = ", ".join(f"{name} {_brief(facts[name])}" for name in _TOLD if facts.get(name) not in (None, ""))
        used = datetime.fromtimestamp(each.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(Text(each.kind), Text(origin or "unknown"), f"{each.rows:,}", units.size(each.bytes), used)
    total = sum(each.bytes for each in entries)
    lines = [f"{folder}: {units.size(total)} of at most {units.size(limit)}"]
    lines += [f"{name}: {units.size(count)}" for name, count in others.items()]
    more = len(entries) - _MOST_ENTRIES
    older = [Text(f"and {more:,} used less recently: {option('json', True)}", style="dim")] if more > 0 else []
    return Group(
        *([table] if entries else []), *older, Text(lines[0], style="bold"), *(Text(line, style="dim") for line in lines[1:])
    )


def _brief(value: object) -> str:
    """The first 8 characters of a digest; the first and last of many stages."""
    text = str(value)
    names = text.split(", ")
    if len(names) > 3:  # stages
        return f"{names[0]} .. {', '.join(names[-2:]) if names[-1] == 'pooled' else names[-1]}"
    return text[:8] if len(text) >= 32 and set(text) <= set("0123456789abcdef") else text
