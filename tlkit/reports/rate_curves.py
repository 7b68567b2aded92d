"""rates.svg: the loss of range tests over the learning rate, with the rates that are suggested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from tlkit import files
from tlkit.record.range_tests import RangeTest
from tlkit.reports import svg
from tlkit.reports.curves import Chart

_COLUMNS = 2
_ABOVE = 1.5  # times the first loss, over which a loss is not drawn: what diverges would press all else flat


def write(path: Path, tests: Iterable[RangeTest]) -> None:
    """Write the picture.

    Args:
        path: Of the .svg file.
        tests: One picture for each.
    """
    files.replace(path, svg.text(figure(list(tests))))


def figure(tests: Sequence[RangeTest]) -> Chart:
    """Draw each test: every step's loss as a point, the smoothed loss as a line, suggestions as vertical lines."""
    columns = min(_COLUMNS, max(len(tests), 1))
    rows = -(-len(tests) // columns) or 1
    made = Chart(figsize=(5 * columns, 3.8 * rows), layout="constrained")
    every = made.subplots(rows, columns, squeeze=False).ravel()
    for axes, test in zip(every, tests, strict=False):
        _draw(axes, test)
    for axes in every[len(tests) :]:
        axes.set_visible(False)
    return made


def _draw(axes: Axes, test: RangeTest) -> None:
    point, line, other = svg.COLOURS[:3]
    axes.set_xscale("log")
    axes.plot(test.rates, test.losses, ".", color=point, alpha=0.35, markersize=4, label="each step")
    axes.plot(test.rates, test.smoothed, color=point, linewidth=1.8, label="smoothed")
    for rate, colour, style, words in ((test.valley, line, "-", "valley"), (test.steepest, other, "--", "steepest")):
        if rate is not None:
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.4, label=f"{words} {rate:.2g}")
    if test.smoothed:
        low, high = min(test.losses), max(min(max(test.losses), _ABOVE * test.smoothed[0]), max(test.smoothed[:1]))
        room = 0.05 * max(high - low, 1e-9)
        axes.set_ylim(low - room, high + room)
    axes.set_title(f"{test.arm}: {test.title}")
    axes.set_xlabel(
        "learning rate" if len(test.ratios) == 1 else f"learning rate of {max(test.ratios, key=lambda name: test.ratios[name])}"
    )
    axes.set_ylabel("training loss")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
