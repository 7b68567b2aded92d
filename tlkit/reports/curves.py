"""curves.svg: loss and accuracy, or what else the task is judged by, of every arm per epoch, training and test, on common axes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tlkit import files, tasks
from tlkit.record import selection
from tlkit.reports import svg

_SIZE = (10.0, 4.2)  # inches, with one row of names below
_ROW, _LINE, _LETTER = 0.22, 0.75, 0.085  # inches: the height of a row of names, the width of its line and of a letter

_MARKED = 10  # epochs of a line with a mark at each
_BAND, _FAINT = "lowest to highest run", 0.2

Run = tuple[str, Sequence[Mapping[str, Any]]]


class Chart(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def write(path: Path, runs: Iterable[Run]) -> None:
    """Write the picture.

    Args:
        path: Of the .svg file.
        runs: Arm and epochs (lines of metrics.jsonl) of each run. Several runs of an arm, its seeds or folds, become one line, their mean, in
            a band from the lowest to the highest; where they end at different epochs it goes on with those that are left.
    """
    drawn = list(runs)
    tested = [bool(epoch["test"]) for _, epochs in drawn for epoch in epochs]  # arms without test curves cannot be compared
    made = figure(drawn, held_out="test" if tested and all(tested) else "validation")
    files.replace(path, svg.text(made))


def figure(runs: Iterable[Run], *, held_out: str) -> Chart:
    """Draw loss and accuracy, or what else the task is judged by, of each epoch: of the training images dashed, of the held-out images solid.

    Args:
        runs: As `write` takes them.
        held_out: "validation" or "test".
    """
    drawn = [(arm, epochs) for arm, epochs in runs if epochs]
    arms = list(dict.fromkeys(arm for arm, _ in drawn))
    colours = {arm: svg.COLOURS[index % len(svg.COLOURS)] for index, arm in enumerate(arms)}
    made = Chart(figsize=_SIZE)
    left, right = made.subplots(1, 2)
    known = [epoch[held_out] for _, epochs in drawn for epoch in epochs if epoch[held_out]]
    judged = tasks.drawn_by(known, selection.shared(map(tasks.headline, known)))
    for axes, metric in ((left, "loss"), (right, judged)):
        for arm in arms:
            each = [epochs for name, epochs in drawn if name == arm]
            _draw(axes, each, "train", metric, colours[arm], "--")
            _draw(axes, each, held_out, metric, colours[arm], "-")
        _dress(axes, metric)
    keys: list[Artist] = [Line2D([], [], color=colours[arm], lw=2, label=arm) for arm in arms]
    keys += [Line2D([], [], color="0.3", ls=style, label=name) for style, name in (("-", held_out), ("--", "train"))]
    if len(drawn) > len(arms):
        keys.append(Patch(color="0.3", alpha=_FAINT, lw=0, label=_BAND))
    columns = max(1, int(_SIZE[0] / (_LINE + _LETTER * max(len(str(key.get_label())) for key in keys))))
    made.legend(handles=keys, loc="lower center", ncols=min(len(keys), columns), frameon=False)
    rows = -(-len(keys) // columns)
    made.set_figheight(_SIZE[1] + (rows - 1) * _ROW)
    made.subplots_adjust(
        left=0.06,
        right=0.985,
        wspace=0.16,
        top=1 - 0.4 / made.get_figheight(),
        bottom=(0.6 + rows * _ROW) / made.get_figheight(),
    )
    return made


def _draw(axes: Axes, runs: Sequence[Sequence[Mapping[str, Any]]], split: str, metric: str, colour: str, style: str) -> None:
    """Draw the mean over the runs after each epoch, and a band from the lowest to the highest."""
    values: dict[int, list[float]] = {}
    for epoch in (epoch for epochs in runs for epoch in epochs):
        if (value := (epoch[split] or {}).get(metric)) is not None:
            values.setdefault(epoch["epoch"], []).append(value)
    if not values:
        return
    at = sorted(values)
    marker = "o" if len(at) <= _MARKED else ""  # of more, marks would hide the dashes
    axes.plot(at, [fmean(values[n]) for n in at], color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.6)
    if len(runs) > 1:
        lowest, highest = [min(values[n]) for n in at], [max(values[n]) for n in at]
        axes.fill_between(at, lowest, highest, color=colour, alpha=_FAINT, linewidth=0)


def _dress(axes: Axes, metric: str) -> None:
    axes.set_title(tasks.metric_label(metric), y=1.0)  # where it is without: otherwise each tick is measured to find out
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
