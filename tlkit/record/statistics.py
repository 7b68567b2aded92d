"""Intervals and tests for accuracies: what of a difference may be noise. Imports no torch.

The rule: predictions for the same images are compared pair by pair, and p-values of several seeds are never pooled.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NORMAL = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
FEWEST = 3  # runs of which an interval is computed; two give one that may be wider than everything that is possible
FEWEST_EPOCHS = 4  # of which over-fitting can be told: in fewer there is no trend beside the noise


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Two networks' predictions for the same images.

    Attributes:
        only_first: Images that only the first has right.
        only_second: Images that only the second has right.
        images: All images.
        p: Probability of so uneven a division, or a more uneven one, if both were right equally often.
    """

    only_first: int
    only_second: int
    images: int
    p: float

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first."""
        return (self.only_second - self.only_first) / self.images


@dataclass(frozen=True)
class PairedDifference:
    """Differences between two arms over seeds: their mean, its 95 % interval, and the p-value of a paired t-test."""

    mean: float
    interval: Interval
    p: float
    n: int


def wilson(successes: int, trials: int) -> Interval:
    """Return the 95 % interval of a proportion.

    Args:
        successes: At least 0, at most `trials`.
        trials: At least 1.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.
    """
    part, z2 = successes / trials, _NORMAL**2
    centre = (part + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL / (1 + z2 / trials) * math.sqrt(part * (1 - part) / trials + z2 / (4 * trials**2))
    return Interval(0.0 if not successes else centre - half, 1.0 if successes == trials else centre + half)


def auroc(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> tuple[float, float]:
    """Return the area under the ROC curve, the mean over classes, and its standard error.

    Classes that no image or every image has are left out. Images, not classes, are what varies, so that classes may depend on each other;
    of one class the error is DeLong's.

    Args:
        scores: (images, classes).
        targets: (images, classes) of 0 and 1.

    Returns:
        Both are NaN where no class is left. Where every image is on the right side the error is that of half an image on the wrong one.

    Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, eq. 1 to 5; that of an area near 1: Hanley & McNeil 1982, Radiology 143.
    """
    from scipy.stats import rankdata

    areas, least = [], []
    shares = np.zeros(len(targets))  # of each image in the mean over classes, less that mean
    for score, target in zip(scores.T, targets.T, strict=True):
        yes = target.astype(bool)
        m, n = int(yes.sum()), int((~yes).sum())
        if not m or not n:
            continue
        ranks = rankdata(score)
        part = np.empty(len(score))
        part[yes] = (ranks[yes] - rankdata(score[yes])) / n  # of negatives below each positive
        part[~yes] = 1 - (ranks[~yes] - rankdata(score[~yes])) / m  # of positives above each negative
        area = float(part[yes].mean())
        areas.append(area)
        least.append(_hanley_mcneil(1 - 0.5 / min(m, n), m, n))
        shares[yes] += (part[yes] - area) / math.sqrt(m * max(m - 1, 1))
        shares[~yes] += (part[~yes] - area) / math.sqrt(n * max(n - 1, 1))
    if not areas:
        return math.nan, math.nan
    error = math.sqrt(float((shares**2).sum())) / len(areas)
    return statistics.fmean(areas), error or math.sqrt(statistics.fmean(each**2 for each in least) / len(areas))


def _hanley_mcneil(area: float, m: int, n: int) -> float:
    """Return the standard error of an area with m positives and n negatives."""
    both, other = area / (2 - area), 2 * area**2 / (1 + area)
    square = area * (1 - area) + (m - 1) * (both - area**2) + (n - 1) * (other - area**2)
    return math.sqrt(max(square, 0.0) / (m * n))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Compare which images two networks have right, by the exact two-sided test.

    Args:
        first: (N,) the images that the first network has right.
        second: (N,) those of the second; the same images in the same order.

    Source: McNemar 1947, Psychometrika 12; exact: the binomial distribution of the images that only one has right.
    """
    from scipy.special import bdtr  # scipy.stats takes a second to import

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p = min(2 * float(bdtr(min(only_first, only_second), differ, 0.5)), 1.0) if differ else 1.0  # both tails are alike
    return McNemar(only_first, only_second, len(first), p)


def paired_t(differences: Sequence[float]) -> PairedDifference | None:
    """Return the mean of differences over seeds with its 95 % interval and p-value, by Student's t.

    None for fewer than three, and where all are equal: from values that do not vary nothing can be told of how much they would.
    """
    if len(differences) < FEWEST or len(set(differences)) == 1:
        return None
    from scipy.special import stdtr, stdtrit

    n, mean = len(differences), statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(n)
    half = float(stdtrit(n - 1, 0.975)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return PairedDifference(mean, Interval(mean - half, mean + half), p, n)


def paired_ratio(parts: Sequence[float], wholes: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of a ratio of two means over the same seeds; None for fewer than three, and where it has no end.

    It holds each ratio for which a paired t-test does not tell `parts` from ratio * `wholes`. It has no end where the wholes may be 0.

    Args:
        parts: Of each seed, the numerator.
        wholes: Of each seed, the denominator.

    Source: Fieller 1954, "Some problems in interval estimation", Journal of the Royal Statistical Society B 16.
    """
    n = len(parts)
    if n < FEWEST:
        return None
    from scipy.special import stdtrit

    part, whole = statistics.fmean(parts), statistics.fmean(wholes)
    share = float(stdtrit(n - 1, 0.975)) ** 2 / n
    a = whole**2 - share * statistics.variance(wholes)
    b = part * whole - share * statistics.covariance(parts, wholes)
    c = part**2 - share * statistics.variance(parts)
    if a <= 0:
        return None
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return Interval((b - root) / a, (b + root) / a)


def over_fitting(train: Sequence[float], held_out: Sequence[float]) -> int | None:
    """Return the place, from 0, of the lowest held-out loss where it lastingly rises after it while the train loss falls; else None.

    It rises where the last two losses both lie above the lowest one by four standard deviations of the noise: of 100 values of
    noise alone the lowest lies 2.5 below the mean. The noise of a curve is told by its third differences, which are small where it is smooth; for
    independent values of standard deviation s theirs is s * sqrt(20). 0.6745 is the median of |x| for a standard normal x.

    Args:
        train: Loss on training images after each epoch.
        held_out: Loss on held-out images after the same epochs.
    """
    if len(held_out) < FEWEST_EPOCHS:
        return None
    noise = float(np.median(np.abs(np.diff(held_out, 3)))) / (0.6745 * math.sqrt(20))
    lowest = min(range(len(held_out)), key=held_out.__getitem__)
    rises = len(held_out) - lowest > 2 and min(held_out[-2:]) > held_out[lowest] + 4 * noise
    return lowest if rises and max(train[-2:]) < train[lowest] else None


def accuracy_error(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy; none and all right count as half an image on the other side."""
    edge = 0.5 / max(images, 1)
    inside = min(max(accuracy, edge), 1 - edge)
    return math.sqrt(inside * (1 - inside) / max(images, 1))
