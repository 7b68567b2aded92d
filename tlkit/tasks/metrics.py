"""How good answers on held-out images are: the metrics of each task, and what happened to every class.

The rule: a metric that is not defined for these images, as the area under a curve is not for one class alone, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlkit.plugin import Task
from tlkit.tasks import objective

_TOP = 5


@dataclass(frozen=True)
class Answers:
    """A network's answers on the images of a split.

    Attributes:
        logits: (N, classes) float32.
        labels: (N,) int64, of a multi-label task (N, classes) float32 of 0 and 1.
        task: What they mean.
        positive: Of a binary task, the class that is 1.
        logarithms: The logits are logarithms of probabilities already.
    """

    logits: Tensor
    labels: Tensor
    task: Task
    positive: int = 1
    logarithms: bool = False

    @property
    def classes(self) -> int:
        """How many."""
        return self.logits.shape[1]

    @property
    def chosen(self) -> Tensor:
        """The class of each image (N,), of a multi-label task 0 or 1 for each (N, classes)."""
        return (self.logits > 0).long() if self.task == "multi_label" else self.logits.argmax(1)

    @property
    def probabilities(self) -> Tensor:
        """Of every class (N, classes) float64, so that sure answers keep their order.

        Logarithms of probabilities, as solved heads answer, are taken as they are: scaled once more, equal ones would differ in
        their last bits, and what ranks them would see an order that is none.
        """
        if self.logarithms:
            return self.logits.double().exp()
        return objective.probabilities(self.logits.double(), self.task)


def scores(answers: Answers) -> dict[str, float]:
    """Return loss and accuracy, and what else the task is judged by.

    Returns:
        loss: Mean cross-entropy.
        accuracy: Part of the answers that are right, 0 to 1; of a multi-label task an answer is one class of one image.
        balanced_accuracy: Mean over the classes that there are of the part of their images that are right. Not of multi-label.
        top5: Part of the images whose class is among the five most probable, where there are more classes than that.
        f1: Of a binary task of the positive class, else the mean over classes of 2 p r / (p + r).
        auroc: Area under the ROC curve: of the positive class, else the mean over classes, each against the rest.
        exact_match: Of a multi-label task, part of the images of which every class is right.

    Source: torchmetrics.functional.classification, but for loss and accuracy.
    """
    more = _many(answers) if answers.task == "multi_label" else _one(answers)
    return basic(answers) | {name: value for name, value in more.items() if value is not None}


def basic(answers: Answers) -> dict[str, float]:
    """Return loss and accuracy alone, as `scores` does."""
    loss = float(objective.losses(answers.logits, answers.labels, answers.task).double().sum()) / len(answers.labels)
    count = int(objective.right(answers.logits, answers.labels, answers.task))
    return {"loss": loss, "accuracy": count / answers.labels.numel()}


def details(answers: Answers, names: Sequence[str]) -> dict[str, Any]:
    """Return what happened to every class.

    Args:
        answers: Of one split.
        names: Of the classes.

    Returns:
        confusion: (classes, classes) images by class, a row, and answer, a column; of a multi-label task for each class
            [[true negative, false positive], [false negative, true positive]].
        per_class: Name -> images, precision, recall, f1, auroc; None where one is not defined.
    """
    from torchmetrics.functional import classification as known

    kinds = answers.classes
    if answers.task == "multi_label":
        confusion = known.multilabel_confusion_matrix(answers.chosen, answers.labels.long(), num_labels=kinds)
        hit, false, missed = confusion[:, 1, 1], confusion[:, 0, 1], confusion[:, 1, 0]
    else:
        confusion = known.multiclass_confusion_matrix(answers.chosen, answers.labels, num_classes=kinds)
        hit = confusion.diagonal()
        false, missed = confusion.sum(0) - hit, confusion.sum(1) - hit
    areas = _areas(answers)
    return {
        "confusion": confusion.tolist(),
        "per_class": {
            name: {
                "images": h + m,
                "precision": _ratio(h, h + f),
                "recall": _ratio(h, h + m),
                "f1": _ratio(2 * h, 2 * h + f + m),
                "auroc": area,
            }
            for name, h, f, m, area in zip(names, hit.tolist(), false.tolist(), missed.tolist(), areas, strict=True)
        },
    }


def _one(answers: Answers) -> dict[str, float | None]:
    """Of tasks in which an image has one class."""
    from torchmetrics.functional import classification as known

    kinds, chosen, labels = answers.classes, answers.chosen, answers.labels
    recall = known.multiclass_recall(chosen, labels, num_classes=kinds, average="none")
    there = torch.bincount(labels, minlength=kinds) > 0
    found: dict[str, float | None] = {"balanced_accuracy": float(recall[there].double().mean())}
    if kinds > _TOP:
        found["top5"] = float(
            known.multiclass_accuracy(answers.probabilities, labels, num_classes=kinds, top_k=_TOP, average="micro")
        )
    if answers.task == "binary":
        positive = answers.positive
        found["f1"] = float(known.binary_f1_score((chosen == positive).long(), (labels == positive).long()))
        found["auroc"] = _area(answers.probabilities[:, positive], labels == positive)
    else:
        found["f1"] = float(known.multiclass_f1_score(chosen, labels, num_classes=kinds, average="macro"))
        found["auroc"] = _mean(_areas(answers))
    return found


def _many(answers: Answers) -> dict[str, float | None]:
    """Of a task in which an image has any number of classes."""
    from torchmetrics.functional import classification as known

    chosen, labels = answers.chosen, answers.labels.long()
    return {
        "exact_match": int((chosen == labels).all(1).sum()) / len(labels),
        "f1": float(known.multilabel_f1_score(chosen, labels, num_labels=answers.classes, average="macro")),
        "auroc": _mean(_areas(answers)),
    }


def _areas(answers: Answers) -> list[float | None]:
    """The area under each class's curve against the rest; None for a class of which there are no images, or no others."""
    every = answers.probabilities
    labels = answers.labels
    mine = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels, answers.classes)
    return [_area(every[:, index], mine[:, index] > 0) for index in range(answers.classes)]


def _area(probabilities: Tensor, positive: Tensor) -> float | None:
    from torchmetrics.functional.classification import binary_auroc

    if bool(positive.all()) or not bool(positive.any()):
        return None
    return float(binary_auroc(probabilities, positive.long()))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
