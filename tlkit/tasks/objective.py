"""What answers cost in training, what they mean, and which are right: by the head's task. Nothing here asks the device for a number.

A binary head's one logit z comes as two columns, 0 and z: softmax and cross-entropy of these are the sigmoid and the binary
cross-entropy of z, so everything below treats it as two classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tlkit.plugin import Task


class Objective:
    """The loss that training lowers.

    Args:
        task: What the answers mean.
        smoothing: Part of each target that is spread evenly over what it could be.
        weights: What an image of each class counts; () for 1.
        device: That answers are on.
    """

    def __init__(self, task: Task, *, smoothing: float, weights: Sequence[float], device: torch.device) -> None:
        self._task = task
        self._smoothing = smoothing
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device) if weights else None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over images (0-d).

        Args:
            logits: (n, classes) float32.
            targets: Labels (n,) int64 or the shares of every class (n, classes) float32; of a multi-label task, 0 or 1 for each
                class, or what mixing made of them.
        """
        if self._task == "multi_label":
            smooth = targets * (1 - self._smoothing) + self._smoothing / 2 if self._smoothing else targets
            return functional.binary_cross_entropy_with_logits(logits, smooth)
        if self._weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=self._smoothing)
        # reduction="mean" would divide by the weights of the batch, and a batch of rare classes would count as any other
        total = functional.cross_entropy(logits, targets, self._weights, label_smoothing=self._smoothing, reduction="sum")
        return total / len(targets)


def losses(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Return the cross-entropy of each image (n,), neither smoothed nor weighted."""
    if task == "multi_label":
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    return functional.cross_entropy(logits, labels, reduction="none")


def right(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Count right answers (0-d int64): one an image at most, of a multi-label task one for each class.

    Args:
        logits: (n, classes).
        targets: As `Objective` takes them; of shares the largest counts.
        task: What the answers mean.
    """
    if task == "multi_label":
        return ((logits > 0) == (targets > 0.5)).sum()
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    return (logits.argmax(1) == labels).sum()


def probabilities(logits: Tensor, task: Task) -> Tensor:
    """Return the probability of each class (n, classes): together 1, or of a multi-label task each for itself."""
    return torch.sigmoid(logits) if task == "multi_label" else torch.softmax(logits, dim=1)
