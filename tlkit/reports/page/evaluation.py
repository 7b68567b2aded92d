"""Write the page of an evaluation: a run's network on other labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit import files, units
from tlkit.record import selection, statistics
from tlkit.reports import evaluation_tables
from tlkit.reports.page import frame, seen
from tlkit.reports.page.seen import Evaluated


@dataclass(frozen=True)
class ShownEvaluation:
    """What the page shows.

    Attributes:
        run: Folder of the run.
        on: The images, as they were named.
        images: How many were evaluated.
        metrics: Each metric of the task.
        answers: The network's answers for them.
        warnings: What a person should know of the result.
        command: The command that writes the page.
        select_by: The metric that epochs of the task are chosen by: the sentence begins with it.
    """

    run: str
    on: str
    images: int
    metrics: Mapping[str, float]
    answers: Evaluated
    warnings: Sequence[str]
    command: str
    select_by: str = selection.USUAL


def write(path: Path, shown: ShownEvaluation) -> None:
    """Write the page of an evaluation.

    Raises:
        TlkitError: Plotly or Jinja2 is not installed.
        OSError: the page cannot be written.
    """
    frame.refuse_missing()
    sees = seen.seen([shown.answers])
    values = {
        "title": f"{shown.answers.name} on {shown.on}",
        "sentence": _sentence(shown),
        "warnings": shown.warnings,
        "metrics": evaluation_tables.metrics(shown.metrics, shown.answers.evaluation.get("per_class", {})),
        "sees": sees,
        "facts": [("command", shown.command), ("run", shown.run)],
    }
    files.replace(path, frame.render("evaluation.html.j2", [chart for each in sees for chart in each.charts], values))


def _sentence(shown: ShownEvaluation) -> str:
    """The task's metric: an accuracy with the interval of the number of images, where each image has one class."""
    accuracy, by = shown.metrics["accuracy"], shown.select_by
    score = f"{accuracy:.1%} accuracy" if by == selection.USUAL else selection.shown(shown.metrics, by)
    text = f"{shown.answers.name} has {score} on {units.images(shown.images)} of {shown.on}"
    if shown.answers.calibrated is None:
        return f"{text}."
    found = statistics.wilson(round(accuracy * shown.images), shown.images)
    return f"{text} (95 % interval {found.low:.1%} to {found.high:.1%}; Wilson, one run)."
