"""Single label: every image has one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tlkit.tasks import metrics, named_classes
from tlkit.tasks.task import Metric, Predictions, Rows, Shown, Strata, Targets, Task, same_logits, same_outputs

if TYPE_CHECKING:
    from torch import Tensor

_TOP = 5
_MATRIX = 2000  # classes; a matrix of more takes over 12 MB of evaluation.json
_PAIRS = 100  # of these


# ---- targets: (N,) int64, 0 <= label < classes


def holds(targets: object) -> bool:
    """Whether it is an array (N,) int64."""
    return isinstance(targets, np.ndarray) and targets.dtype == np.int64 and targets.ndim == 1


def problem(targets: Rows, classes: int) -> tuple[str, ...]:
    """Say which label is out of range."""
    wrong = targets[(targets < 0) | (targets >= classes)]
    if not len(wrong):
        return ()
    return f"label {wrong[0]} is out of range", f"labels of {classes} classes are 0 to {classes - 1}"


def strata(targets: Rows, names: Sequence[str]) -> Strata:
    """Every class is a stratum."""
    return targets, names


def count(targets: Rows, classes: int) -> tuple[int, ...]:
    """Count the images of every class."""
    return tuple(np.bincount(targets, minlength=classes).tolist())


def renumber(targets: Rows, numbers: Sequence[int], classes: int) -> Rows:
    """Give every class another number."""
    return np.array(numbers, np.int64)[targets]


def batch(targets: Rows) -> Tensor:
    """Return labels (n,) int64."""
    import torch

    return torch.from_numpy(targets)


def mix(own: Tensor, other: Tensor, shares: Tensor, classes: int) -> Tensor:
    """Return the share of every class (n, classes) float32; the sum of a row is 1."""
    from torch.nn import functional

    mine, theirs = (functional.one_hot(each, classes).float() for each in (own, other))
    share = shares[:, None]
    return (mine * share).add_(theirs * (1 - share))


def example(shape: Sequence[int]) -> Tensor:
    """Return labels (n,) int64 that go through the classes in turn."""
    import torch

    return torch.arange(shape[0]) % shape[1]


LABELS = Targets(
    "one class per image", "(N,) int64", holds, problem, strata, count, renumber, batch, mix, example, one_class=True
)


# ---- loss


def loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the cross-entropy, mean over images; targets are labels (n,) or the shares of every class (n, classes)."""
    from torch.nn import functional

    if weights is None:
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    # reduction="mean" would divide by the weights of the batch, and a batch of rare classes would count as any other
    total = functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="sum")
    return total / len(targets)


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each image (n,)."""
    from torch.nn import functional

    return functional.cross_entropy(logits, targets, reduction="none")


# ---- predictions


def correct(logits: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Count the images whose largest logit is that of their class, or of the class with the largest share."""
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    return (logits.argmax(1) == labels).sum(), len(targets)


def probabilities(logits: Tensor) -> Tensor:
    """Return (n, classes); the sum of a row is 1."""
    import torch

    return torch.softmax(logits, dim=1)


def chosen(logits: Tensor) -> Tensor:
    """Return the class of each image (n,)."""
    return logits.argmax(1)


# ---- metrics


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    """Return the metrics of several classes, of which an image has one.

    Returns:
        balanced_accuracy: Mean over the classes that there are of the part of their images that are correct.
        top5: Part of the images whose class is among the five most probable, where there are more classes than that.
        f1: Mean over classes of 2 p r / (p + r).
    """
    found: dict[str, float | None] = {"balanced_accuracy": metrics.balanced_accuracy(predictions)}
    if predictions.classes > _TOP:
        found["top5"] = metrics.top(predictions, _TOP)
    return found | {"f1": metrics.f1(predictions)}


def auroc(predictions: Predictions) -> float | None:
    """Return the area under the ROC curve of each class against the rest, mean over classes."""
    return metrics.mean(metrics.areas(predictions.probabilities, predictions.targets))


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class.

    Returns:
        confusion: (classes, classes) images by class, a row, and prediction, a column. Where there are more than 2,000 classes it is
            left out, and `confused` has the 100 pairs with the most images: class, prediction, images.
        per_class: Name -> images, precision, recall, f1, auroc; None where one is not defined.
    """
    areas = metrics.areas(predictions.probabilities, predictions.targets)
    per_class = metrics.per_class(names, *metrics.counts(predictions), areas)
    if predictions.classes <= _MATRIX:
        return {"confusion": _confusion(predictions), "per_class": per_class}
    return {"confused": metrics.confused(predictions, most=_PAIRS), "per_class": per_class}


def _confusion(predictions: Predictions) -> list[list[int]]:
    from torchmetrics.functional import classification as known

    matrix = known.multiclass_confusion_matrix(predictions.chosen, predictions.targets, num_classes=predictions.classes)
    return cast("list[list[int]]", matrix.tolist())


METRICS = {
    "balanced_accuracy": Metric("balanced accuracy", percent=True),
    "top5": Metric("top-5 accuracy", percent=True),
    "f1": Metric("F1"),
    "auroc": Metric("AUROC"),
}


def words(labels: Tensor, names: Sequence[str]) -> list[str]:
    """Return the class of every image (n,)."""
    return [names[label] for label in labels.tolist()]


SINGLE_LABEL = Task(
    name="single_label",
    head="linear",
    targets=LABELS,
    outputs=same_outputs,
    expand=same_logits,
    loss=loss,
    losses=losses,
    correct=correct,
    probabilities=probabilities,
    chosen=chosen,
    scores=scores,
    details=details,
    metrics=METRICS,
    costly={"auroc": auroc},
    recipe_problems=named_classes.no_positive,
    data_problems=lambda arm, classes, names: named_classes.weight_problems(arm, names),
    shown=Shown(words, one_class=True),
)
