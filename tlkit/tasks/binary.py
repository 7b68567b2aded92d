"""Binary: every image has one of two classes, and the head gives one logit, of the positive class.

The logit z becomes two columns, 0 and z: softmax and cross-entropy of these are the sigmoid and the binary cross-entropy of z. So
loss and predictions are those of a single label with two classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tlkit.errors import TlkitError
from tlkit.recipe.recipe import Arm
from tlkit.tasks import metrics, named_classes
from tlkit.tasks.single_label import SINGLE_LABEL
from tlkit.tasks.task import Predictions

if TYPE_CHECKING:
    from torch import Tensor


def outputs(classes: int) -> int:
    """Return 1: the head gives the logit of the positive class."""
    return 1


def expand(logits: Tensor, positive: int) -> Tensor:
    """Return logits (n, 2) of (n, 1); the column of the other class is 0."""
    import torch

    both = (torch.zeros_like(logits), logits)
    return torch.cat(both if positive else both[::-1], 1)


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    """Return the metrics of two classes.

    Returns:
        balanced_accuracy: Mean over the classes that there are of the part of their images that are correct.
        f1: 2 p r / (p + r) of the positive class.
        auroc: Area under the ROC curve of the positive class.

    Source: torchmetrics.functional.classification.
    """
    from torchmetrics.functional import classification as known

    positive, targets = predictions.positive, predictions.targets
    return {
        "balanced_accuracy": metrics.balanced_accuracy(predictions),
        "f1": float(known.binary_f1_score((predictions.chosen == positive).long(), (targets == positive).long())),
        "auroc": metrics.area(predictions.probabilities[:, positive], targets == positive),
    }


def data_problems(arm: Arm, classes: int, names: Sequence[str]) -> list[TlkitError]:
    """Check that there are two classes, and the class names of [head] and [loss]."""
    problems = []
    if classes != 2:
        problems.append(
            TlkitError(
                f"head.kind: the {arm.head.kind} head is for 2 classes, {arm.data.name} has {classes}.",
                'kind = "linear", for instance',
            )
        )
    return problems + named_classes.positive_problems(arm, names) + named_classes.weight_problems(arm, names)


def choices(arm: Arm, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Say which class the logit is of."""
    if not names:
        return []
    why = "the last one" if arm.head.positive is None else "as the recipe says"
    return [("positive class", names[named_classes.positive(arm.head, names)], why)]


BINARY = replace(
    SINGLE_LABEL,
    name="binary",
    head="binary",
    outputs=outputs,
    expand=expand,
    scores=scores,
    costly={},
    recipe_problems=lambda arm: [],
    data_problems=data_problems,
    choices=choices,
)
