"""The loss that training lowers. It never asks the device for a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from tlkit.tasks.task import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Objective:
    """A task's loss with a recipe's smoothing, weights and terms.

    Args:
        task: Whose loss.
        smoothing: Part of each target that is spread evenly over what it could be.
        weights: What an image of each class counts; () for 1.
        device: That logits are on.
        terms: Weights of what is added to the loss, by the name that `Task.terms` has for it.
    """

    def __init__(
        self, task: Task, *, smoothing: float, weights: Sequence[float], device: torch.device,
        terms: Mapping[str, float] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        import torch

        self._task = task
        self._smoothing = smoothing
        self._terms = [(weight, task.terms[name]) for name, weight in terms.items() if weight]
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device) if weights else None

    def __call__(self, logits: Tensor, targets: Tensor, *, whole: Callable[[Tensor], Tensor] = lambda sums: sums) -> Tensor:
        """Return the mean over images, or over what `Task.counts` counts (0-d).

        Args:
            logits: (n, classes, ...) float32.
            targets: (n, ...) as the task's `Targets.batch` or `Targets.mix` gives them.
            whole: (sums over these images) -> over those of all processes.
        """
        loss = self._task.loss(logits, targets, self._smoothing, self._weights)
        for weight, term in self._terms:
            loss = loss + weight * term(logits, targets, self._weights, whole)
        return loss
