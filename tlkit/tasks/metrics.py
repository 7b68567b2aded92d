"""The arithmetic of metrics that several tasks share: areas under ROC curves, and what happened to every class.

The rule: a metric that these images do not define is None, for instance the area under a curve where all images are of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlkit.tasks.task import Predictions

if TYPE_CHECKING:
    from torch import Tensor


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean over the classes that there are of the part of their images that are correct; an image has one class."""
    import torch
    from torchmetrics.functional import classification as known

    kinds, targets = predictions.classes, predictions.targets
    recall = known.multiclass_recall(predictions.chosen, targets, num_classes=kinds, average="none")
    there = torch.bincount(targets, minlength=kinds) > 0
    return float(recall[there].double().mean())


def areas(probabilities: Tensor, indicators: Tensor) -> list[float | None]:
    """Return the area under each class's ROC curve against the rest.

    Args:
        probabilities: (N, classes).
        indicators: (N, classes), more than 0 for the classes that an image has.
    """
    return [area(probabilities[:, index], indicators[:, index] > 0) for index in range(probabilities.shape[1])]


def area(probabilities: Tensor, positive: Tensor) -> float | None:
    """Return the area under the ROC curve of one class (N,); None where all images are of it, or none is."""
    from torchmetrics.functional.classification import binary_auroc

    if bool(positive.all()) or not bool(positive.any()):
        return None
    return float(binary_auroc(probabilities, positive.long()))


def per_class(
    names: Sequence[str], hit: Tensor, false: Tensor, missed: Tensor, areas: Sequence[float | None]
) -> dict[str, dict[str, Any]]:
    """Return name -> images, precision, recall, f1, auroc, from the images of every class (classes,) that were rightly found,
    wrongly found, and missed.
    """
    return {
        name: {
            "images": h + m,
            "precision": _ratio(h, h + f),
            "recall": _ratio(h, h + m),
            "f1": _ratio(2 * h, 2 * h + f + m),
            "auroc": each,
        }
        for name, h, f, m, each in zip(names, hit.tolist(), false.tolist(), missed.tolist(), areas, strict=True)
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of those that are defined."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
