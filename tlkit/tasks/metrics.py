"""The arithmetic of metrics that several tasks share: areas under ROC curves, and what happened to every class.

The rule: a metric that these images do not define is None, for instance the area under a curve where all images are of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.tasks.task import Predictions

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 1 << 20  # probabilities that are ranked at once, 8 MB


def counts(predictions: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many images of every class (classes,) were rightly found, wrongly found, and missed; an image has one class.

    They are the diagonal and the margins of the confusion matrix, of which the whole takes 3.8 GB for 21,841 classes.
    """
    import torch

    kinds, targets, chosen = predictions.classes, predictions.targets, predictions.chosen
    hit, picked, there = (torch.bincount(each, minlength=kinds) for each in (targets[chosen == targets], chosen, targets))
    return hit, picked - hit, there - hit


def confused(predictions: Predictions, *, most: int) -> list[tuple[int, int, int]]:
    """Return the pairs of classes with the most wrong images: class, prediction, images; a matrix of all pairs is not made."""
    labels, chosen = predictions.targets.cpu().numpy(), predictions.chosen.cpu().numpy()
    wrong, classes = labels != chosen, predictions.classes
    cells, images = np.unique(labels[wrong] * classes + chosen[wrong], return_counts=True)
    first = np.argsort(-images, kind="stable")[:most]
    return [(*divmod(int(cells[each]), classes), int(images[each])) for each in first]


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean over the classes that there are of the part of their images that are correct; an image has one class."""
    hit, _, missed = counts(predictions)
    there = hit + missed
    return float((hit / there)[there > 0].double().mean())


def f1(predictions: Predictions) -> float:
    """Return the mean of 2 p r / (p + r) over the classes that there are, or that were predicted; an image has one class."""
    hit, false, missed = counts(predictions)
    known = hit + false + missed > 0
    return float(((2.0 * hit / (2.0 * hit + missed + false)).where(known, 0.0) / known.sum()).sum())


def top(predictions: Predictions, most: int) -> float:
    """Return the part of the images whose class is among the `most` most probable; an image has one class.

    Classes that are equally probable share the places that are left, as drawing lots would on average: a decision tree gives most classes 0.
    """
    found = predictions.probabilities
    own, first = found.gather(1, predictions.targets[:, None])[:, 0], found.topk(most, dim=1).values
    last = first[:, -1]
    share, tied = (own > last).float(), own == last  # neither where a probability is not a number
    places = most - (first[tied] > last[tied, None]).sum(1)
    share[tied] = places / (found[tied] == last[tied, None]).sum(1)
    return float(share.mean())


def areas(probabilities: Tensor, targets: Tensor) -> list[float | None]:
    """Return the area under each class's ROC curve against the rest; None where all images are of the class, or none is, or where a
    probability is not a number, which has no rank.

    It is the part of the pairs of an image of the class and another image in which the first has the higher probability; equal ones
    count a half. The pairs are counted by ranks, many classes at a time: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.

    Args:
        probabilities: (N, classes).
        targets: Labels (N,), or (N, classes), more than 0 for the classes that an image has.
    """
    import torch

    images, classes = probabilities.shape
    step, found = max(1, _AT_ONCE // images), []
    for first in range(0, classes, step):
        some = slice(first, min(first + step, classes))
        labels = torch.arange(some.start, some.stop, device=targets.device)
        positive = (targets.T[some] > 0).contiguous() if targets.ndim == 2 else targets == labels[:, None]
        found += _areas(probabilities[:, some].T.contiguous(), positive)
    return found


def area(probabilities: Tensor, positive: Tensor) -> float | None:
    """Return the area under the ROC curve of one class (N,); None where `areas` has none."""
    return areas(probabilities[:, None], positive[:, None])[0]


def _areas(values: Tensor, positive: Tensor) -> list[float | None]:
    """Return the area of each row of probabilities (c, N) by which images are of its class (c, N)."""
    import torch

    # numpy sorts numbers on the CPU in half of torch's time
    ordered = values.sort(1).values if values.is_cuda else torch.from_numpy(np.sort(values.numpy(), axis=1))
    count = positive.sum(1)
    row, _ = positive.nonzero(as_tuple=True)  # row by row
    column = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    padded = values.new_zeros(len(values), max(int(count.max()), 1))  # (c, most images of a class)
    padded[row, column] = values[positive]
    below, upto = (torch.searchsorted(ordered, padded, right=right) for right in (False, True))
    twice_rank = (below + upto + 1)[row, column]  # equal values share the mean of their ranks, from 1
    twice = torch.zeros_like(count).index_add_(0, row, twice_rank)
    whole, ranked = values.shape[1], ~ordered[:, -1].isnan()  # NaN stands last
    return [
        (both - many * (many + 1)) / (2 * many * (whole - many)) if 0 < many < whole and known else None
        for both, many, known in zip(twice.tolist(), count.tolist(), ranked.tolist(), strict=True)
    ]


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
