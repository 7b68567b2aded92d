"""Metrics of masks, from a row of counts of each image. Imports no torch.

A row holds, one after the other: the confusion matrix (classes, classes), pixels by class, a row, and prediction, a column; the sum of
the cross-entropy; and of two classes the histograms (2, BINS) of the logit of the second class, of the pixels of each class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Numbers = NDArray[np.float64]

_FEWEST = 3  # images of which an interval is computed; two give one that may be wider than everything that is possible
_POINTS = 200  # of a curve, at most
BINS = 1024
LEAST_LOGIT, WIDTH = -16.0, 1 / 32  # of the histograms: from -16 to 16, beyond which probabilities are within 1.2e-7 of 0 and 1


@dataclass(frozen=True)
class Counted:
    """What the rows of some images hold.

    Attributes:
        each: (n, classes, classes) pixels of every image by class and prediction.
        loss: (n,) sum of the cross-entropy of every image.
        logits: (n, 2, BINS) pixels by class and logit; None of more than two classes.
    """

    each: Numbers
    loss: Numbers
    logits: Numbers | None

    @property
    def confusion(self) -> Numbers:
        """(classes, classes) of all images together."""
        return np.asarray(self.each.sum(0))


def counted(rows: Tensor) -> Counted:
    """Return what rows (n, length) hold."""
    values = rows.double().cpu().numpy()
    length = values.shape[1]
    binary = length == 4 + 1 + 2 * BINS
    classes = 2 if binary else math.isqrt(length - 1)
    cells = classes * classes
    spread = values[:, cells + 1 :].reshape(-1, 2, BINS) if binary else None
    return Counted(values[:, :cells].reshape(-1, classes, classes), values[:, cells], spread)


def dice(confusion: Numbers) -> Numbers:
    """Return 2 h / (2 h + f + m) of every class (..., classes); NaN of one that is neither there nor predicted."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * hit, confusion.sum(-1) + confusion.sum(-2))


def iou(confusion: Numbers) -> Numbers:
    """Return h / (h + f + m) of every class (..., classes); NaN of one that is neither there nor predicted."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(hit, confusion.sum(-1) + confusion.sum(-2) - hit)


def over_pixels(found: Counted) -> dict[str, float | None]:
    """Return the metrics of all pixels of all images together.

    Returns:
        dice, iou: Of the second of two classes, else the mean over the classes that there are.
        sensitivity: Part of the pixels of the second of two classes that are found.
        specificity: Part of the pixels of the first that are not taken for the second.
        auroc: Area under the ROC curve of the second of two classes.
        average_precision: Mean of the precision over the recall, as scikit-learn has it.
    """
    confusion = found.confusion
    shown: dict[str, float | None] = {"dice": main(dice(confusion)), "iou": main(iou(confusion))}
    if found.logits is None:
        return shown
    recall = _ratio(np.diagonal(confusion), confusion.sum(1))
    spread = found.logits.sum(0)
    return shown | {
        "sensitivity": _defined(recall[1]),
        "specificity": _defined(recall[0]),
        "auroc": auroc(spread),
        "average_precision": average_precision(spread),
    }


def per_class(found: Counted, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return name -> the images that show it, and its pixels, dice, iou, precision, recall over all; None where one is not defined."""
    confusion = found.confusion
    hit, there, picked = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    columns = {"dice": dice(confusion), "iou": iou(confusion), "precision": _ratio(hit, picked), "recall": _ratio(hit, there)}
    images = (found.each.sum(2) > 0).sum(0)
    return {
        name: {"images": int(images[index]), "pixels": int(there[index])}
        | {key: _defined(values[index]) for key, values in columns.items()}
        for index, name in enumerate(names)
    }


def per_image(found: Counted) -> dict[str, Any]:
    """Return the metrics of each image, and their mean over the images with a 95 % interval.

    Returns:
        metric -> {"each": value of every image, None where it is not defined, "mean", "low", "high"}.
    """
    each = {"dice": [main(row) for row in dice(found.each)], "iou": [main(row) for row in iou(found.each)]}
    return {name: {"each": values, **interval(values)} for name, values in each.items()}


def interval(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return the mean of values from 0 to 1 that are defined, and its 95 % interval by Student's t, within these; None of too few."""
    known = np.array([value for value in values if value is not None])
    mean = float(known.mean()) if len(known) else None
    if mean is None or len(known) < _FEWEST:
        return {"mean": mean, "low": None, "high": None}
    from scipy.special import stdtrit

    half = float(stdtrit(len(known) - 1, 0.975) * known.std(ddof=1) / math.sqrt(len(known)))
    return {"mean": mean, "low": max(mean - half, 0.0), "high": min(mean + half, 1.0)}


def main(values: Numbers) -> float | None:
    """Return the value of the second of two classes, else the mean over the classes that have one."""
    if len(values) == 2:
        return _defined(values[1])
    return None if np.isnan(values).all() else float(np.nanmean(values))


def auroc(spread: Numbers) -> float | None:
    """Return the area under the ROC curve from histograms (2, BINS); pixels of one bin count as equal."""
    negative, positive = spread
    if not negative.sum() or not positive.sum():
        return None
    below = negative.cumsum() - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def average_precision(spread: Numbers) -> float | None:
    """Return the sum over thresholds of precision times the rise of recall, from histograms (2, BINS)."""
    negative, positive = spread[:, ::-1]
    if not positive.sum():
        return None
    found, taken = positive.cumsum(), (positive + negative).cumsum()
    return float((_ratio(found, taken, nothing=0.0) * positive).sum() / positive.sum())


def curves(found: Counted) -> dict[str, list[float]]:
    """Return points of the ROC curve and of precision over recall of the second of two classes, from the highest threshold to the lowest.

    Returns:
        probability: From which on a pixel is taken for the class.
        false_positive_rate: Part of the pixels of the first class that then are.
        recall: Part of the pixels of the second class that then are.
        precision: Part of the pixels that then are and are of the second class.
        Empty of more than two classes, and where only one of two is there.
    """
    if found.logits is None:
        return {}
    negative, positive = found.logits.sum(0)[:, ::-1].cumsum(1)
    if not negative[-1] or not positive[-1]:
        return {}
    taken = np.flatnonzero(negative + positive)  # thresholds below which something is taken for the class
    values = np.stack([negative / negative[-1], positive / positive[-1], _ratio(positive, positive + negative, nothing=1.0)])[
        :, taken
    ]
    way = np.abs(np.diff(values, prepend=values[:, :1])).sum(0).cumsum()
    chosen = np.unique(np.searchsorted(way, np.linspace(0, way[-1], _POINTS)))  # evenly along the curves
    least = LEAST_LOGIT + WIDTH * (BINS - 1 - taken[chosen])
    named = zip(
        ("probability", "false_positive_rate", "recall", "precision"),
        (1 / (1 + np.exp(-least)), *values[:, chosen]),
        strict=True,
    )
    return {name: [round(value, 6) for value in each.tolist()] for name, each in named}


def thresholds(found: Mapping[str, Counted]) -> dict[str, dict[str, float | None]]:
    """Return for every part the Dice at the probability at which that of the validation images is best, of two classes.

    Of several such probabilities it is the one nearest to 0.5: the lowest would lie just above the first class's pixels, or, where no pixel
    is of it, at 0.

    Returns:
        part -> {"probability": from which on a pixel is of the second class, "dice"}; empty without validation images, and where these
        have no pixel of the second class.
    """
    own = found.get("validation")
    if own is None or own.logits is None or not own.logits[:, 1].sum():
        return {}
    each = _dice_from(own.logits.sum(0))
    best = np.flatnonzero(each == np.nanmax(each))
    place = int(best[np.abs(best - BINS // 2).argmin()])
    probability = 1 / (1 + math.exp(-(LEAST_LOGIT + WIDTH * place)))
    return {
        name: {"probability": probability, "dice": _defined(float(_dice_from(part.logits.sum(0))[place]))}
        for name, part in found.items()
        if part.logits is not None
    }


def _dice_from(spread: Numbers) -> Numbers:
    """Return Dice (BINS,) where the pixels of a bin and of all above are taken for the second class."""
    negative, positive = (side[::-1].cumsum()[::-1] for side in spread)
    return _ratio(2 * positive, positive + negative + spread[1].sum())


def _ratio(part: Numbers, whole: Numbers, *, nothing: float = math.nan) -> Numbers:
    out = np.full(np.shape(whole), nothing)
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
