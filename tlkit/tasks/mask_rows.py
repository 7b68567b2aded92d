"""Count the pixels of masks image by image, for evaluation; `mask_metrics` says what a row holds.

The rule: nothing is read from the device, so that on a GPU the host runs ahead of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.plugin.masks import IGNORED
from tlkit.tasks.mask_metrics import BINS, LEAST_LOGIT, WIDTH
from tlkit.tasks.number_counts import COPIES, counted

if TYPE_CHECKING:
    from torch import Tensor


def rows(logits: Tensor, targets: Tensor, losses: Tensor) -> Tensor:
    """Return what evaluation keeps of each image (n, length) float64.

    Args:
        logits: (n, classes, h, w).
        targets: (n, h, w) uint8.
        losses: Of each pixel (n, h, w), 0 where it is ignored.
    """
    import torch

    classes, known = logits.shape[1], targets != IGNORED
    labels = targets.long()
    parts = [_counted(labels * classes + best(logits), known, classes**2), losses.double().sum((1, 2))[:, None]]
    if classes == 2:
        place = ((logits[:, 1] - logits[:, 0] - LEAST_LOGIT) / WIDTH).floor().long().clamp(0, BINS - 1)
        parts.append(_counted(labels * BINS + place, known, 2 * BINS))
    return torch.cat(parts, 1)


def best(logits: Tensor) -> Tensor:
    """Return the class of each pixel (n, h, w): the first of the largest, as `argmax`, whose loop takes up to 15 times as long on a CPU."""
    return logits.max(1).indices


def _counted(numbers: Tensor, known: Tensor, bins: int) -> Tensor:
    """Return how many known pixels of each image have each number (n, bins) float64.

    Args:
        numbers: (n, h, w) int64, from 0 to bins - 1 where a pixel is known.
        known: (n, h, w).
        bins: How many numbers there are.
    """
    import torch

    images, others = len(numbers), bins  # all others are counted in one more bin
    places = torch.where(known, numbers, others).flatten(1)
    if places.is_cuda:
        turns = torch.arange(places.shape[1], device=places.device) % COPIES * (bins + 1)
        found = counted(places + turns, COPIES * (bins + 1)).view(images, COPIES, bins + 1).sum(1)
    else:
        first = torch.arange(images)[:, None] * (bins + 1)
        found = torch.bincount((places + first).flatten(), minlength=images * (bins + 1)).view(images, bins + 1)
    return found[:, :-1].double()
