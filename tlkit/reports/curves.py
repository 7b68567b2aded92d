"""curves.svg: loss and accuracy, or what else the task is judged by, of every arm per epoch, training and test, on common axes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tlkit import files, tasks
from tlkit.record import selection
from tlkit.reports import svg

_SIZE = (10.0, 4.2)  # inches, with one row of names below
_ROW, _LINE, _LETTER = 0.22, 0.75, 0.085  # inches: the height of a row of names, the width of its line and of a letter

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
        runs: Arm and epochs (lines of metrics.jsonl) of each run; several seeds of an arm share its colour.
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
    known = [tasks.headline(epoch[held_out]) for _, epochs in drawn for epoch in epochs if epoch[held_out]]
    judged = selection.shared(
        by for by in known if any(by in (epoch[held_out] or {}) for _, epochs in drawn for epoch in epochs)
    )
    for axes, metric in ((left, "loss"), (right, judged)):
        for arm, epochs in drawn:
            _draw(axes, epochs, "train", metric, colours[arm], "--")
            _draw(axes, epochs, held_out, metric, colours[arm], "-")
        _dress(axes, metric)
    keys = [Line2D([], [], color=colours[arm], lw=2, label=arm) for arm in arms]
    keys += [Line2D([], [], color="0.3", ls=style, label=name) for style, name in (("-", held_out), ("--", "train"))]
    columns = max(1, int(_SIZE[0] / (_LINE + _LETTER * max(len(name) for name in (*arms, held_out)))))
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


def _draw(axes: Axes, epochs: Sequence[Mapping[str, Any]], split: str, metric: str, colour: str, style: str) -> None:
    points = [(epoch["epoch"], epoch[split][metric]) for epoch in epochs if metric in (epoch[split] or {})]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, marker="o", markersize=3, linewidth=1.6)


def _dress(axes: Axes, metric: str) -> None:
    axes.set_title(tasks.metric_label(metric), y=1.0)  # where it is without: otherwise each tick is measured to find out
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
