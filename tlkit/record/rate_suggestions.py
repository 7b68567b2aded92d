"""Suggest a learning rate from the losses of a range test. Needs numpy alone.

Source: range test Smith 2017, arXiv:1506.01186, section 3.3; the valley rule as fastai names it,
https://docs.fast.ai/callback.schedule.html#valley.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SPIKE = 5  # losses of which the middle one is taken first, so that a single batch moves nothing
_WIDTH = 1 / 50  # standard deviation of the Gaussian weights, as a share of the steps
_LEAST_FALL = 0.02  # of the loss before anything is learned
_LEAST_NOISE = (
    2.5  # times the standard deviation of a batch's loss; a smoothed curve of noise alone seldom falls by 1.5 of them
)
_EDGE = 0.1  # of a fall, at its beginning and its end
_FEWEST = 5  # steps that say anything


def smooth(losses: Sequence[float]) -> tuple[float, ...]:
    """Return each loss as the mean of the medians around it, with Gaussian weights.

    It looks ahead as well as back, so the curve does not lag behind the rates as a running mean does.
    """
    if not len(losses):
        return ()
    padded = np.pad(np.asarray(losses, np.float64), _SPIKE // 2, mode="edge")
    values = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SPIKE), axis=1)
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places) / max(_WIDTH * len(values), 1e-9)) ** 2)
    return tuple((weights @ values / weights.sum(1)).tolist())


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the smoothed loss falls fastest over the logarithm of the rate; None where it does not fall.

    Args:
        rates: Rising.
        losses: One for each.
    """
    fall = _longest_fall(losses)
    if fall is None:
        return None
    begin, end = fall
    slopes = np.gradient(np.asarray(smooth(losses)), np.log(np.asarray(rates, np.float64)))
    return float(rates[begin + int(np.argmin(slopes[begin : end + 1]))])


def valley(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate in the middle of the longest fall of the smoothed loss; None where it does not fall.

    The longest fall is the longest sequence of steps, not only neighbours, of which each has a smaller loss than the one before. Its first
    and last tenth are left out: at rates at which nothing is learned yet, noise alone makes a long sequence of tiny falls.

    Args:
        rates: Rising.
        losses: One for each.
    """
    fall = _longest_fall(losses)
    return None if fall is None else float(np.sqrt(rates[fall[0]] * rates[fall[1]]))


def _longest_fall(losses: Sequence[float]) -> tuple[int, int] | None:
    """Return where the longest fall of the smoothed losses has left a tenth of it behind, and where a tenth is left.

    Returns:
        Two places; None where the losses fall by no more than batches differ.
    """
    values = np.asarray(smooth(losses))
    if len(values) < _FEWEST:
        return None
    last = _end_of_longest_sequence(values)
    tenth = max(len(values) // 10, 1)
    level = float(np.mean(losses[:tenth]))  # before anything is learned
    size = level - float(values[last])
    noise = 1.4826 * float(np.median(np.abs(np.asarray(losses) - values)))  # a standard deviation, whatever diverges at the end
    if last < tenth or size <= max(_LEAST_FALL * abs(level), _LEAST_NOISE * noise):
        return None
    high, low = level - _EDGE * size, float(values[last]) + _EDGE * size
    begin = max((place for place in range(last) if values[place] > high), default=-1) + 1
    return begin, next(place for place in range(begin, last + 1) if values[place] <= low)


def _end_of_longest_sequence(values: Floats) -> int:
    """Return the last place of the longest sequence of places with falling values."""
    length = np.ones(len(values), np.int64)
    for place in range(1, len(values)):
        larger = length[:place][values[:place] > values[place]]
        length[place] = 1 + larger.max(initial=0)
    return int(np.argmax(length))
