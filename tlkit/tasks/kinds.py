"""The tasks that there are, by name and by the targets that they understand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tlkit.errors import TlkitError, nearest
from tlkit.tasks.binary import BINARY
from tlkit.tasks.detection import ANCHOR_DETECTION, POINT_DETECTION
from tlkit.tasks.multi_label import MULTI_LABEL
from tlkit.tasks.segmentation import SEGMENTATION
from tlkit.tasks.single_label import SINGLE_LABEL
from tlkit.tasks.task import Metric, Task

USUAL = "accuracy"  # the metric that chooses epochs of most tasks
KINDS: dict[str, Task] = {
    task.name: task for task in (SINGLE_LABEL, BINARY, MULTI_LABEL, SEGMENTATION, POINT_DETECTION, ANCHOR_DETECTION)
}


def get(name: str) -> Task:
    """Return the task of a name.

    Raises:
        TlkitError: there is none.
    """
    if name not in KINDS:
        raise TlkitError(f'there is no task "{name}".', f"tasks: {', '.join(KINDS)}", nearest(name, KINDS))
    return KINDS[name]


def understanding(targets: object) -> list[Task]:
    """Return the tasks that can learn from such targets, the most general first; empty where none can."""
    return [task for task in KINDS.values() if task.targets.holds(targets)]


def headline(scores: Mapping[str, float]) -> str:
    """Return the metric that scores are shown by: the one that chooses epochs of their task, whatever a recipe chooses them by.

    Args:
        scores: Of evaluated images. Their names tell the task, as a task whose images are not judged by accuracy has metrics of its own.
    """
    task = _judged(scores)
    return USUAL if task is None else task.select_by


def shown_by(scores: Mapping[str, float], by: str) -> str:
    """Return the metric of its epochs that images are shown by: this one, where they do not have it one that is computed after each.

    Args:
        scores: Of evaluated images, or of training batches, which have accuracy alone.
        by: A metric: see `Task.judged_by`.

    Returns:
        "" where they have neither.
    """
    task = _judged(scores)
    names = (by,) if task is None else (by, task.judged_by("loss"))
    return next((name for name in names if name in scores), "")


def drawn_by(epochs: Iterable[Mapping[str, float]], by: str) -> str:
    """Return the metric that a curve over epochs shows: this one, where not all have it one that all have.

    Args:
        epochs: Scores of held-out images after each epoch; those that are not judged by this metric count for nothing.
        by: The metric that they are judged by: see `headline`.

    Returns:
        "accuracy" where no epoch has either.
    """
    judged = [scores for scores in epochs if headline(scores) == by]
    others = {shown_by(scores, by) for scores in judged if by not in scores}
    other = others.pop() if len(others) == 1 else ""
    if other and all(other in scores for scores in judged):
        return other
    return by if any(by in scores for scores in judged) else USUAL


def note(scores: Mapping[str, float]) -> str:
    """Return what a reader should know of how scores were computed: see `Task.note`."""
    task = _judged(scores)
    return "" if task is None else task.note(scores)


def _judged(scores: Mapping[str, float]) -> Task | None:
    """Return the task that scores are of; None where it is judged by accuracy."""
    judged = [task for task in KINDS.values() if task.select_by != USUAL]
    others = {name for task in KINDS.values() if task.select_by == USUAL for name in task.metrics}
    return next((task for task in judged if scores.keys() & (task.metrics.keys() - others)), None)


def metric_label(name: str) -> str:
    """Return a metric's name for people; a name that no task has as it is."""
    labels = metric_labels()
    return labels[name].label if name in labels else name


def metric_labels() -> dict[str, Metric]:
    """Return how the metrics of all tasks are shown, those in percent first."""
    every = {name: metric for task in KINDS.values() for name, metric in task.metrics.items()}
    return dict(sorted(every.items(), key=lambda item: not item[1].percent))
