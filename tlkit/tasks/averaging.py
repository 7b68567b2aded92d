"""The mean of several predictions: of views of a picture, of networks of an ensemble, of the images of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlkit.tasks import scoring
from tlkit.tasks.task import Predictions


def mean(each: Sequence[Predictions]) -> Predictions:
    """Return predictions whose probabilities are the mean of those of others, for the same images in the same order."""
    if len(each) == 1:
        return each[0]
    first = each[0]
    total = first.probabilities.clone()
    for other in each[1:]:
        total += other.probabilities
    return replace(first, logits=first.task.logits(total / len(each)).float())


def of_groups(predictions: Predictions, groups: NDArray[np.str_]) -> Predictions:
    """Return predictions for groups of images, whose probabilities are the mean of those of their images.

    Args:
        predictions: Of images; those of a group have the same target.
        groups: (N,) the group of each image.
    """
    import torch

    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    index = torch.from_numpy(number.reshape(-1)).to(predictions.logits.device)
    each = predictions.probabilities
    total = torch.zeros(len(first), each.shape[1], dtype=each.dtype, device=each.device).index_add_(0, index, each)
    mean = total / torch.bincount(index, minlength=len(first))[:, None]
    targets = predictions.targets[torch.from_numpy(first).to(predictions.targets.device)]
    return replace(predictions, logits=predictions.task.logits(mean).float(), targets=targets, sampled=None)


def group_scores(predictions: Predictions, groups: NDArray[np.str_]) -> Mapping[str, float]:
    """Return how many groups of images there are, and the scores of the answers for these: see `of_groups`."""
    answers = of_groups(predictions, groups)
    return {"groups": len(answers.targets), **scoring.scores(answers)}
