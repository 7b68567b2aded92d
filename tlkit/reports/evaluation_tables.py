"""The metrics of `tlkit evaluate` as rich tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit import tasks, units
from tlkit.record import selection
from tlkit.reports import plain_table

_PER_CLASS = (  # those that a task has
    "images", "pixels", "boxes", "precision", "recall", "f1", "dice", "iou", "auroc", "average_precision",
)  # fmt: skip
_PARTS = ("pixels", "boxes")  # what accuracy counts, where that is not images


def evaluation(
    on: str, *, part: str, images: int, values: Mapping[str, float], per_class: Mapping[str, Mapping[str, float | None]]
) -> RenderableType:
    """Return the metrics of a network on labelled images, and those of every class.

    Args:
        on: The data set, as it was named.
        part: "test" or "all".
        images: How many there are.
        values: Each metric.
        per_class: Of each class.
    """
    counted = units.images(images, kind="test ") if part == "test" else f"all {units.images(images)}"
    title = Text(f"{on}: {counted}", style="italic")
    grid = Table.grid(padding=(0, 3, 0, 0))
    for row in metrics(values, per_class):
        grid.add_row(*row)
    return Group(title, grid, "", _classes(per_class))


def gain(views: int, accuracy_of_one: float, accuracy: float, p: float | None) -> str:
    """Return what several views of each image bring, in words."""
    points = 100 * (accuracy - accuracy_of_one)
    chance = "" if p is None else f", p = {p:.2g}"
    return (
        f"{views} views of each image: accuracy {accuracy:.1%}, with one {accuracy_of_one:.1%} ({points:+.1f} points{chance})"
    )


def groups(values: Mapping[str, float]) -> str:
    """Return the scores of groups of images that have one answer, in words."""
    named = {name: value for name, value in values.items() if name != "groups"}
    shown = ", ".join(f"{label} {value}" for label, value in metrics(named))
    return f"{values['groups']:,.0f} groups of images, each answered by the mean of its images' probabilities: {shown}"


def metrics(
    values: Mapping[str, float], per_class: Mapping[str, Mapping[str, float | None]] = MappingProxyType({})
) -> list[tuple[str, str]]:
    """Return the label and the value of each metric as text; the one that the task is judged by is the first, where that is not accuracy.

    Args:
        values: Each metric.
        per_class: Of each class: it tells what accuracy counts.
    """
    main = tasks.headline(values)
    leading = [main] if main != selection.USUAL and main in values else []
    parts = next((each for each in _PARTS if any(each in known for known in per_class.values())), "")
    labels = {selection.USUAL: f"accuracy of {parts}"} if parts else {}
    return [
        (labels.get(name, tasks.metric_label(name)), selection.value(values, name))
        for name in dict.fromkeys([*leading, *values])
    ]


def _classes(per_class: Mapping[str, Mapping[str, float | None]]) -> Table:
    table = plain_table.of()
    table.add_column("class", overflow="fold")
    columns = [name for name in _PER_CLASS if any(name in values for values in per_class.values())]
    for name in columns:
        table.add_column(tasks.metric_label(name), justify="right", no_wrap=True)
    for name, values in per_class.items():
        table.add_row(Text(name), *(_number(values.get(column)) for column in columns))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
