"""One file per kind of problem: what a target is, the loss, which predictions are correct, and the metrics.

Nothing outside this package asks which task it is: a head names its task, and `tasks.get(name)` finds it. torch is imported
inside functions only.
"""

from tlkit.tasks.kinds import KINDS, USUAL, drawn_by, get, headline, metric_label, metric_labels, note, shown_by, understanding
from tlkit.tasks.task import Metric, Predictions, Sampled, Shown, Targets, Task

__all__ = [
    "KINDS",
    "USUAL",
    "Metric",
    "Predictions",
    "Sampled",
    "Shown",
    "Targets",
    "Task",
    "drawn_by",
    "get",
    "headline",
    "metric_label",
    "metric_labels",
    "note",
    "shown_by",
    "understanding",
]
