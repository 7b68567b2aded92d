"""Pictures of what was measured with the lectures' recipes: docs/pictures/*.svg, drawn from docs/measurements.

The rule: a picture shows what the data has and computes nothing but means and intervals over seeds. tests/docs/test_measured.py holds that
the pictures are those of the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from docs import measured
from docs.experiments import EXPERIMENTS, Experiment
from docs.measured import Kernels, Measured
from tlkit.reports import curves, svg
from tlkit.reports.page.pictures import grid

FOLDER = Path(__file__).parent / "pictures"
_WAYS = {"everything": "everything", "scratch": "from scratch", "head_only": "last layer alone"}
_COLUMNS = 8  # kernels in a row


def pictures() -> dict[str, str]:
    """Return the text of every picture by the name of its file."""
    return {f"{each.recipe}_{kind}.svg": svg.text(draw()) for each in EXPERIMENTS for kind, draw in _drawn(each).items()}


def write() -> None:
    """Write every picture, and remove those that are drawn no more."""
    FOLDER.mkdir(exist_ok=True)
    drawn = pictures()
    for name, text in drawn.items():
        (FOLDER / name).write_text(text)
    for path in FOLDER.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()


def shown(each: Experiment) -> dict[str, str]:
    """Return what is drawn of an experiment, "images", "curves", "kernels" and "accuracy", each as an image of docs/lectures.md."""
    return {kind: f"![{_words(each, kind)}](pictures/{each.recipe}_{kind}.svg)" for kind in _drawn(each)}


def _words(each: Experiment, kind: str) -> str:
    """Return what a picture shows, for readers who do not see it."""
    return {
        "images": f"{each.title}: test accuracy over the number of training images",
        "curves": f"{each.title}: loss and accuracy after each epoch, on common axes",
        "kernels": f"{each.title}: the kernels of the first convolution before and after training, and their difference",
        "accuracy": f"{each.title}: the lecture's accuracy and ours, of each way to train",
    }[kind]


def _drawn(each: Experiment) -> dict[str, Callable[[], Figure]]:
    """Return how each picture of an experiment is drawn; without data there is none."""
    found = measured.read(each.recipe)
    if found is None:
        return {}
    drawn: dict[str, Callable[[], Figure]] = {}
    if ways := over_images(found):
        drawn["images"] = partial(images, ways)
    arms = [arm for arm in each.curves or found.arms if arm in found.arms]
    if runs := [(arm, epochs) for arm in arms for epochs in found.epochs(arm) if epochs]:
        tested = all(epoch["test"] for _, epochs in runs for epoch in epochs)
        drawn["curves"] = partial(curves.figure, runs, held_out="test" if tested else "validation")
    if found.kernels:
        drawn["kernels"] = partial(kernels, found.kernels)
    if any(_number(figure.lecture) for figure in each.figures):
        drawn["accuracy"] = partial(accuracy, each, found)
    return drawn


def over_images(found: Measured) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the test accuracy of each way to train by the number of images, from arms that are named "scratch_500"."""
    ways: dict[str, dict[int, dict[str, Any]]] = {}
    for way in _WAYS:
        counts = sorted(int(arm.removeprefix(f"{way}_")) for arm in found.arms if re.fullmatch(rf"{way}_\d+", arm))
        points = {count: found.accuracy(f"{way}_{count}", "test") for count in counts}
        if len(points) > 1:
            ways[way] = {count: point for count, point in points.items() if point is not None}
    return ways


def images(ways: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Figure:
    """Draw test accuracy over the number of training images, with 95 % intervals over the seeds."""
    made = Figure(figsize=(7, 4), layout="constrained")
    axes = made.subplots()
    for colour, (way, points) in zip(svg.COLOURS, ways.items()):
        means = [point["mean"] for point in points.values()]
        axes.errorbar(
            list(points), means, _bars(points.values()), color=colour, marker="o", markersize=5, linewidth=1.8, capsize=3, label=_WAYS[way]
        )  # fmt: skip
    counts = sorted({count for points in ways.values() for count in points})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("training images")
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _dress(axes)
    axes.legend(frameon=False, loc="best")
    return made


def accuracy(each: Experiment, found: Measured) -> Figure:
    """Draw the accuracy of each arm: test with its 95 % interval and train, and the lecture's test accuracy."""
    rows = [figure for figure in each.figures if not figure.arm or found.accuracy(figure.arm, "test")]
    chance = next((_number(figure.lecture) for figure in rows if not figure.arm), None)
    rows = [figure for figure in rows if figure.arm]
    made = Figure(figsize=(8, 1.3 + 0.45 * len(rows)), layout="constrained")
    axes = made.subplots()
    ours, lectures, seen = svg.COLOURS[0], svg.COLOURS[1], svg.COLOURS[2]
    for place, figure in enumerate(rows):
        test, train, said = found.accuracy(figure.arm, "test"), found.accuracy(figure.arm, "train"), _number(figure.lecture)
        if test is not None:
            axes.errorbar([test["mean"]], [place], xerr=_bars([test]), color=ours, marker="o", markersize=7, capsize=3)
        if train is not None:
            axes.plot([train["mean"]], [place], color=seen, marker="|", markersize=12, markeredgewidth=2, linestyle="")
        if said is not None:
            axes.plot([said], [place], color=lectures, marker="D", markersize=7, markerfacecolor="none", linestyle="")
    if chance is not None:
        axes.axvline(chance, color="0.5", linestyle=":")
    axes.set_yticks(range(len(rows)), [figure.what for figure in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("accuracy")
    _dress(axes)
    keys = [
        Line2D([], [], color=ours, marker="o", linestyle="", label="test, measured here"),
        Line2D([], [], color=seen, marker="|", markersize=12, markeredgewidth=2, linestyle="", label="train, measured here"),
        Line2D([], [], color=lectures, marker="D", markerfacecolor="none", linestyle="", label="test, the lecture"),
    ]
    keys += [Line2D([], [], color="0.5", linestyle=":", label="chance")] if chance is not None else []
    made.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False)
    return made


def kernels(arms: Sequence[Kernels]) -> Figure:
    """Draw the first convolution of each arm: before and after training on one scale, and the difference on its own."""
    made = Figure(figsize=(9, 1.7 * len(arms) + 0.3), layout=ConstrainedLayoutEngine(wspace=0.06))
    for row, arm in zip(made.subplots(len(arms), 3, squeeze=False), arms, strict=True):
        before, after = (np.array(each, np.float32).reshape(arm.shape) for each in (arm.before, arm.after))
        scale = max(float(np.abs(each).max()) for each in (before, after))
        moved = float(np.abs(after - before).max())
        shown = (("before", before, scale), ("after", after, scale), ("difference", after - before, moved))
        for axes, (name, kernel, largest) in zip(row, shown, strict=True):
            axes.imshow(grid(kernel, scale=largest, columns=_COLUMNS), interpolation="none")
            axes.set_title(f"{name}, grey is 0, white {largest:.2g}", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(f"{arm.arm}\n{arm.name}", fontsize=9)
    return made


def _bars(points: Iterable[Mapping[str, Any]]) -> list[list[float]]:
    """Return the lengths of the bars below and above each mean; of one or two runs there are none."""
    shown = list(points)
    return [[0.0 if each["low"] is None else abs(each["mean"] - each[side]) for each in shown] for side in ("low", "high")]


def _number(said: str) -> float | None:
    """Return a lecture's test accuracy, 0 to 1, of "76.34" or "99.98 / 76.34"; None where it is told in other words."""
    found = re.fullmatch(r"(?:[\d.]+ / )?(\d[\d.]*)", said)
    return float(found[1]) / 100 if found else None


def _dress(axes: Axes) -> None:
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
