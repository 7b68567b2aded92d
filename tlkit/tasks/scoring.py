"""Loss, accuracy and the other metrics of predictions, by their task.

The rule: a metric that these images do not define, for instance the area under a curve where all are of one class, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.tasks.task import Predictions


def scores(predictions: Predictions) -> dict[str, float]:
    """Return loss and accuracy as `basic` does, and the other metrics of the task: see `scores` in its module."""
    more = predictions.task.scores(predictions)
    return basic(predictions) | {name: value for name, value in more.items() if value is not None}


def basic(predictions: Predictions) -> dict[str, float]:
    """Return loss and accuracy alone.

    Returns:
        loss: Mean over the images, neither smoothed nor weighted.
        accuracy: Part of the predictions that are correct, 0 to 1; of a multi-label task a prediction is one class of one image.
    """
    task, logits, targets = predictions.task, predictions.logits, predictions.targets
    loss = float(task.losses(logits, targets).double().sum()) / len(targets)
    count, whole = task.correct(logits, targets)
    return {"loss": loss, "accuracy": int(count) / int(whole)}


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class: see `details` in the task's module.

    Args:
        predictions: Of one split.
        names: Of the classes.
    """
    return predictions.task.details(predictions, names)
