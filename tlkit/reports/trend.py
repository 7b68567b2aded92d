"""The history of the benchmarks: a table of the sessions, and trend.svg with one panel per recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter
from rich.console import Group, RenderableType
from rich.text import Text

from tlkit import files
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record, Verdict
from tlkit.reports import svg

_COLUMNS = 3  # panels side by side
_LABELS = 6  # dates below a panel
_HEADS, _LEFT = ("date", "commit", "images/s", "ratio", "spread", "change", "epoch", "memory"), 2  # the first two are text


def table(machine: str, records: Sequence[Record]) -> RenderableType:
    """Return the history of one kind of machine, each benchmark's sessions below its name, the oldest first; 80 columns hold it.

    Args:
        machine: Names it.
        records: In any order.
    """
    found = {
        f"{sessions[0].recipe}: {sessions[0].arm}, {sessions[0].mode}": [
            _session(record, Verdict(record, sessions[place - 1] if place else None)) for place, record in enumerate(sessions)
        ]
        for sessions in benchmarks.latest(records).values()
    }
    every = [list(map(Text, _HEADS)), *chain.from_iterable(found.values())]
    widths = [max(len(row[place]) for row in every) for place in range(len(_HEADS))]

    def line(cells: Sequence[Text]) -> Text:
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            cell.align("left" if place < _LEFT else "right", width)
        return Text("  ").join(cells)

    title = Text(f"{machine}: ratio is the speed against that of a plain PyTorch loop", style="italic")
    parts = [title, line([Text(name, style="bold") for name in _HEADS])]
    for name, rows in found.items():
        parts += [Text(name, style="bold"), *map(line, rows)]
    return Group(*parts)


def _session(record: Record, verdict: Verdict) -> list[Text]:
    """Return the cells of a session, by `_HEADS`."""
    dirty = "+" if record.commit.endswith("+") else ""
    return [
        Text(record.date[:10]),
        Text(f"{record.commit[:7]}{dirty}"),
        Text(f"{record.images_per_second:,.1f}"),
        Text(f"{record.ratio:.2f}"),
        Text(f"{record.spread:.0%}"),
        Text("" if verdict.change is None else f"{verdict.change:+.0%}", style="bold red" if verdict.slower else ""),
        Text(f"{record.epoch_seconds:,.0f} s"),
        Text(f"{record.peak_anonymous / 2**20:,.0f} MiB"),
    ]


def write(path: Path, machine: str, records: Sequence[Record]) -> None:
    """Write the picture: the ratio of every arm over the sessions, its spread as a band, 1 being the plain loop.

    Args:
        path: Of the .svg file.
        machine: Stands above it.
        records: In any order, at least one.
    """
    recipes = sorted({record.recipe for record in records})
    columns = min(_COLUMNS, len(recipes))
    rows = math.ceil(len(recipes) / columns)
    figure = Figure(figsize=(max(4.6 * columns, 6.4), 3.2 * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, recipe in zip(panels, recipes, strict=False):
        _panel(axes, recipe, {key: each for key, each in benchmarks.latest(records).items() if key[0] == recipe})
    for axes in panels[len(recipes) :]:
        axes.set_visible(False)
    figure.suptitle(f"times faster than a plain PyTorch loop\n{machine}", fontsize=10, x=0.01, ha="left")
    files.replace(path, svg.text(figure))


def _panel(axes: Axes, recipe: str, arms: Mapping[benchmarks.Key, Sequence[Record]]) -> None:
    """Draw one recipe; sessions stand side by side, evenly, whatever time lay between them."""
    dates = sorted({record.date for sessions in arms.values() for record in sessions})
    at = {date: position for position, date in enumerate(dates)}
    axes.axhline(1, color="0.5", linewidth=1, linestyle=":")
    for index, ((_, arm, mode), sessions) in enumerate(arms.items()):
        x = [at[record.date] for record in sessions]
        y = [record.ratio for record in sessions]
        colour = svg.COLOURS[index % len(svg.COLOURS)]
        label = arm if mode == "eager" else f"{arm}, {mode}"
        axes.plot(x, y, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=label)
        low = [record.ratio * (1 - record.spread) for record in sessions]
        high = [record.ratio * (1 + record.spread) for record in sessions]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    _dress(axes, recipe, dates)


def _dress(axes: Axes, recipe: str, dates: Sequence[str]) -> None:
    axes.set_title(recipe, fontsize=10, loc="left", fontweight="bold")
    axes.set_yscale("log")  # so that a loss of a tenth is as large to see at 60 times as at 2
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.8), max(high, 2.5))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    step = max(1, math.ceil(len(dates) / _LABELS))
    ticks = list(range(0, len(dates), step))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticklabels([datetime.fromisoformat(dates[tick]).strftime("%d %b %y") for tick in ticks], fontsize=8)
    axes.set_xlim(-0.4, max(len(dates) - 1, 1) + 0.4)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
