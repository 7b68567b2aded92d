"""Multi-label: an image has any number of classes, and each class is predicted for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.recipe.recipe import Arm
from tlkit.tasks import metrics, named_classes
from tlkit.tasks.task import Metric, Predictions, Rows, Shown, Targets, Task, one_stratum, same_logits, same_outputs

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLD = 0.5  # probability above which an image has a class: that of a logit of 0


# ---- targets: (N, classes) uint8, 1 for the classes that an image has


def holds(targets: object) -> bool:
    """Whether it is an array (N, classes) uint8."""
    return isinstance(targets, np.ndarray) and targets.dtype == np.uint8 and targets.ndim == 2


def problem(targets: Rows, classes: int) -> tuple[str, ...]:
    """Say that there is another number of classes, or a value that is neither 0 nor 1."""
    if targets.shape[1] != classes:
        return f"targets are of {targets.shape[1]} classes, and there are {classes}", ""
    if targets.max() > 1:
        return f"a target is {targets.max()}", "1 for a class that an image has, else 0"
    return ()


def count(targets: Rows, classes: int) -> tuple[int, ...]:
    """Count the images of every class."""
    return tuple(targets.sum(0, dtype=np.int64).tolist())


def renumber(targets: Rows, numbers: Sequence[int], classes: int) -> Rows:
    """Move every class to another column; no image has a class that is not named."""
    moved = np.zeros((len(targets), classes), np.uint8)
    moved[:, numbers] = targets
    return moved


def batch(targets: Rows) -> Tensor:
    """Return 0 or 1 for each class (n, classes) float32."""
    import torch

    return torch.from_numpy(targets).float()


def mix(own: Tensor, other: Tensor, shares: Tensor, classes: int) -> Tensor:
    """Return the share of every class (n, classes) float32, 0 to 1."""
    share = shares[:, None]
    return (own * share).add_(other * (1 - share))


def example(shape: Sequence[int]) -> Tensor:
    """Return targets (n, classes) float32 of images that have one class each, in turn."""
    import torch

    return torch.nn.functional.one_hot(torch.arange(shape[0]) % shape[1], shape[1]).float()


INDICATORS = Targets(
    "any number of classes per image", "(N, classes) uint8", holds, problem, one_stratum, count, renumber, batch, mix, example
)


# ---- loss


def loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the binary cross-entropy, mean over images and classes; smoothing moves targets towards a half."""
    from torch.nn import functional

    smooth = targets * (1 - smoothing) + smoothing / 2 if smoothing else targets
    return functional.binary_cross_entropy_with_logits(logits, smooth)


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of each image (n,), mean over classes."""
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


# ---- predictions


def correct(logits: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Count the correct predictions, one for each class of each image."""
    return ((logits > 0) == (targets > 0.5)).sum(), targets.numel()


def probabilities(logits: Tensor) -> Tensor:
    """Return (n, classes), each for itself."""
    import torch

    return torch.sigmoid(logits)


def logits(probabilities: Tensor) -> Tensor:
    """Return (n, classes) whose sigmoid the probabilities are."""
    return probabilities.logit(1e-15)


def chosen(logits: Tensor) -> Tensor:
    """Return 0 or 1 for each class (n, classes)."""
    return (logits > 0).long()


# ---- metrics


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    """Return the metrics of images that have any number of classes.

    Returns:
        exact_match: Part of the images of which every class is correct.
        f1: Mean over classes of 2 p r / (p + r).

    Source: torchmetrics.functional.classification.
    """
    from torchmetrics.functional import classification as known

    picked, targets = predictions.chosen, predictions.targets.long()
    return {
        "exact_match": int((picked == targets).all(1).sum()) / len(targets),
        "f1": float(known.multilabel_f1_score(picked, targets, num_labels=predictions.classes, average="macro")),
    }


def auroc(predictions: Predictions) -> float | None:
    """Return the area under the ROC curve of each class, mean over classes."""
    return metrics.mean(metrics.areas(predictions.probabilities, predictions.targets))


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class.

    Returns:
        confusion: For each class [[true negative, false positive], [false negative, true positive]].
        per_class: Name -> images, precision, recall, f1, auroc; None where one is not defined.
    """
    from torchmetrics.functional import classification as known

    targets = predictions.targets.long()
    confusion = known.multilabel_confusion_matrix(predictions.chosen, targets, num_labels=predictions.classes)
    areas = metrics.areas(predictions.probabilities, predictions.targets)
    per_class = metrics.per_class(names, confusion[:, 1, 1], confusion[:, 0, 1], confusion[:, 1, 0], areas)
    return {"confusion": confusion.tolist(), "per_class": per_class}


# ---- recipe


def recipe_problems(arm: Arm) -> list[TlkitError]:
    """Refuse a positive class, and weights of classes."""
    problems = named_classes.no_positive(arm)
    if arm.loss.class_weights is not None:
        problems.append(
            TlkitError(
                f"loss.class_weights: the {arm.head.kind} head answers for every class by itself, and an image has no one class to "
                "be weighed by.",
                "leave it out; precision and recall of every class are in evaluation.json",
            )
        )
    return problems


def data_problems(arm: Arm, classes: int, names: Sequence[str]) -> list[TlkitError]:
    """Refuse a number of training images per class."""
    if arm.data.split.train_per_class is None:
        return []
    return [
        TlkitError(
            "data.split.train_per_class: images that may have several classes cannot be counted by class.", "data.split.train"
        )
    ]


def words(indicators: Tensor, names: Sequence[str]) -> list[str]:
    """Return the classes of every image (n, classes): "cat, dog", or "none"."""
    return [", ".join(name for name, has in zip(names, row, strict=True) if has) or "none" for row in indicators.tolist()]


MULTI_LABEL = Task(
    name="multi_label",
    head="multilabel",
    targets=INDICATORS,
    outputs=same_outputs,
    expand=same_logits,
    loss=loss,
    losses=losses,
    correct=correct,
    probabilities=probabilities,
    logits=logits,
    chosen=chosen,
    scores=scores,
    details=details,
    costly={"auroc": auroc},
    metrics={
        "f1": Metric("F1"),
        "exact_match": Metric("exact match", percent=True),
        "auroc": Metric("AUROC"),
    },
    # Where each class is rare, an accuracy per class is high for a network that answers "none".
    select_by="auroc",
    recipe_problems=recipe_problems,
    data_problems=data_problems,
    shown=Shown(words, one_class=False),
)
