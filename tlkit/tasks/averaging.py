"""The mean of several predictions for the same images: views of a picture, or networks of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
