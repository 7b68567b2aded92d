"""Loss, accuracy and the other metrics of predictions, by their task.

The rule: a metric that these images do not define, for instance the area under a curve where all are of one class, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.tasks.task import Predictions


def scores(predictions: Predictions) -> dict[str, float]:
    """Return loss and accuracy as `basic` does, and all other metrics of the task: see `scores` in its module."""
    return complete(quick(predictions), predictions)


def quick(predictions: Predictions, *, asked: str = "") -> dict[str, float]:
    """Return `scores` without the costly ones.

    Args:
        predictions: Of one split.
        asked: A metric that is needed even if it is costly.
    """
    task = predictions.task
    more = {**task.scores(predictions), **{name: each(predictions) for name, each in task.costly.items() if name == asked}}
    return basic(predictions) | _defined(more)


def complete(scores: Mapping[str, float], predictions: Predictions) -> dict[str, float]:
    """Return the scores of predictions, as `quick` gave them, with the costly ones that are not among them."""
    return {
        **scores,
        **_defined({name: each(predictions) for name, each in predictions.task.costly.items() if name not in scores}),
    }


def basic(predictions: Predictions) -> dict[str, float]:
    """Return loss and accuracy alone.

    Returns:
        loss: Mean over the images, neither smoothed nor weighted.
        accuracy: Part of the predictions that are correct, 0 to 1; of a multi-label task a prediction is one class of one image, of
            masks one pixel.
    """
    task, logits, targets = predictions.task, predictions.logits, predictions.targets
    if task.reduction is not None:
        mean, part = task.reduction.basic(predictions)
        return {"loss": mean, "accuracy": part}
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


def every_detail(predictions: Mapping[str, Predictions], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `details` of every split, and what one of them decides for the others."""
    found = {split: details(each, names) for split, each in predictions.items()}
    for each in list(predictions.values())[:1]:
        for split, more in each.task.together(predictions).items():
            found[split] |= more
    return found


def _defined(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
