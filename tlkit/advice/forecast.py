"""Continue the accuracy of trials over the number of training images, and over epochs, with an interval. Imports no torch.

The error is a power of the number of images, a straight line in logarithms, whose slope may change between pieces (Jain et al. 2023,
arXiv:2303.01598: a piecewise power law); what lies beyond the data continues the last piece. Over epochs it is the same law (Domhan et al.
2015, IJCAI: "pow3" without its asymptote).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlkit.advice.fitted import NOMINAL

_PIECE = 3  # points of the last piece
_DRAWS = 2000
_FEWEST = 3  # epochs that a curve is continued from: a line and how far it is off
_EDGE, _WIDEST = 0.7, 1.0  # so that 100 of 100 right are 97.5 % or more


Floats = NDArray[np.float64]
Forecast = tuple[float, tuple[float, float]]  # an accuracy, 0 to 1, and its interval


@dataclass(frozen=True)
class Slope:
    """The exponent of the error over the number of images.

    Attributes:
        mean: 0 or less.
        spread: Its standard deviation.
    """

    mean: float
    spread: float


# Of heads that were solved on 38 to 71 images and on all 154 to 405 of six image sets (ants and bees, CIFAR-10, Office-31's dslr, emoji,
# pneumonia, retina patches): -0.03, -0.29, -0.55, -0.39, 0, -0.13.
USUAL = Slope(-0.25, 0.2)
_OTHER = 0.15  # standard deviation between a head on stored features and another way to train; a judgement


@dataclass(frozen=True)
class Point:
    """An accuracy that was measured.

    Attributes:
        images: Training images.
        accuracy: 0 to 1.
        error: Its standard error.
    """

    images: int
    accuracy: float
    error: float


def continued(sizes: Sequence[int], accuracies: Sequence[float], to: int, *, least: float) -> float:
    """Return the accuracy at a number of images, by a power law of the error through the last points.

    Args:
        sizes: Numbers of images, ascending.
        accuracies: At these, 0 to 1.
        to: The number, no less than the last of them.
        least: The smallest error that the images which judge can tell from none.
    """
    if len(sizes) < 2:
        return accuracies[-1]
    errors = [max(1 - each, least) for each in accuracies]
    x, y = np.log(sizes[-_PIECE:]), np.log(errors[-_PIECE:])
    slope = min(float(np.polyfit(x, y, 1)[0]), 0.0)  # more images make no network worse
    gain = errors[-1] * (1 - math.exp(slope * math.log(to / sizes[-1])))
    return min(accuracies[-1] + gain, 1.0)


def forecast(points: Sequence[Point], to: int, usual: Slope | None = None) -> Forecast:
    """Return the accuracy that a way to train is expected to have with more images, and its interval.

    The slope in logarithms is that of the last points, drawn to the usual one by as much as their images leave it open: of one point it is
    the usual one. The interval covers the images that judged it, and what their chance and the usual spread do to the slope; not the choice
    among ways.

    Args:
        points: Of the way, ascending; one at least.
        to: Training images.
        usual: What is known of the slope beside the points; by default `USUAL`.
    """
    usual, draws, sizes = usual or USUAL, np.random.default_rng(0), [each.images for each in points]
    to, least = max(to, sizes[-1]), _EDGE * min(each.error for each in points)
    found = np.array([[each.accuracy for each in points]])
    drawn = np.stack([_drawn(each, draws) for each in points], axis=1)  # (draws, points)
    log_errors = np.array([each.error / max(1 - each.accuracy, least) for each in points])[-_PIECE:]

    def ends(accuracies: Floats, mean: Floats) -> Floats:
        errors = np.maximum(1 - accuracies, least)  # (n, points)
        x, y, weights = np.log(sizes[-_PIECE:]), np.log(errors[:, -_PIECE:]), 1 / log_errors**2
        centred = x - (weights * x).sum() / weights.sum()
        told, open_ = (weights * centred * y).sum(1), (weights * centred * centred).sum()
        slope = (told + mean / usual.spread**2) / (open_ + usual.spread**-2)
        slope = np.minimum(slope, 0.0)  # more images make no network worse
        gain = errors[:, -1] * (1 - np.exp(slope * math.log(to / sizes[-1])))
        reached: Floats = np.minimum(accuracies[:, -1] + gain, 1.0)
        return reached

    expected = float(ends(found, np.array([usual.mean]))[0])
    low, high = np.percentile(
        ends(drawn, usual.mean + usual.spread * draws.normal(size=_DRAWS)), [50 * (1 - NOMINAL), 50 * (1 + NOMINAL)]
    )
    return expected, (min(float(low), expected), max(float(high), expected))


def slope_of(sizes: Sequence[int], accuracies: Sequence[float]) -> Slope:
    """Return what the accuracies of a head on stored features tell of the slope of another head, or of training, on the same images.

    Args:
        sizes: Numbers of images, ascending, two at least.
        accuracies: At these, 0 to 1.
    """
    first, last = (max(1 - accuracies[end], 0.5 / sizes[-1]) for end in (0, -1))
    return Slope(min(math.log(last / first) / math.log(sizes[-1] / sizes[0]), 0.0), _OTHER)


def end_of_curve(accuracies: Sequence[float], *, first: int, epochs: int, judged: int) -> Forecast | None:
    """Return the accuracy of the best epoch that a run is expected to end with, and its interval; None where it is too early to say.

    A line is fitted to the logarithms of error and epoch, through the second half of the curve. The interval is that of a new observation,
    whose spread is that of the points about the line, and at least that of the images. The best epoch so far is a bound, because it is
    kept. Rates that are warmed up and decay bend the curve: before half of the epochs it is not continued.

    Args:
        accuracies: Of each epoch from `first` on, 0 to 1.
        first: Epoch, from 1, since which the same parameters train.
        epochs: Of the whole run.
        judged: Images that they were measured on.
    """
    done = first + len(accuracies) - 1
    taken = max(math.ceil(len(accuracies) / 2), _FEWEST)
    if len(accuracies) < _FEWEST or 2 * done < epochs:
        return None
    from scipy import stats

    errors = np.maximum(1 - np.asarray(accuracies[-taken:]), 0.5 / max(judged, 1))
    x, y = np.log(np.arange(done - taken + 1, done + 1)), np.log(errors)
    slope, start = np.polyfit(x, y, 1)
    around = math.sqrt(float(((y - slope * x - start) ** 2).sum()) / (taken - 2))
    mean = float(errors.mean())
    spread = max(around, math.sqrt(max(1 - mean, 0.5 / max(judged, 1)) / (max(judged, 1) * mean)))
    off = math.log(epochs) - float(x.mean())
    reach = spread * math.sqrt(1 + 1 / taken + off**2 / float(((x - x.mean()) ** 2).sum()))
    reach *= float(stats.t.ppf(0.5 + 0.5 * NOMINAL, taken - 2))
    at = float(slope * math.log(epochs) + start) if slope < 0 else float(y.mean())  # more epochs make no best one worse
    best = max(accuracies)
    expected, low, high = (max(best, 1 - math.exp(min(each, 0.0))) for each in (at, at + reach, at - reach))
    return expected, (low, high)


def _drawn(point: Point, draws: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return accuracies as other images would give them: normal in logits, so that none is above 1."""
    edge = _EDGE * point.error  # where the logit has no value, or a normal one does not fit
    inside = min(max(point.accuracy, edge), 1 - edge)
    width = min(point.error / max(inside * (1 - inside), 1e-12), _WIDEST)
    logits = math.log(max(inside, 1e-12) / max(1 - inside, 1e-12)) + width * draws.normal(size=_DRAWS)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = 1 / (1 + np.exp(-logits))
    return found
