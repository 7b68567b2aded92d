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
_LEAST_FALL = 0.02  # of the first loss; a smaller fall is the noise of batches
_EDGE = 0.05  # of a fall, at its beginning and its end
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
    begin, end = fall[0], fall[-1]
    slopes = np.gradient(np.asarray(smooth(losses)), np.log(np.asarray(rates, np.float64)))
    return float(rates[begin + int(np.argmin(slopes[begin : end + 1]))])


def valley(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate in the middle of the longest fall of the smoothed loss; None where it does not fall.

    The longest fall is the longest sequence of steps, not only neighbours, of which each has a smaller loss than the one before. Its first
    and last twentieth are left out: at rates at which nothing is learned yet, noise alone makes a long sequence of tiny falls.

    Args:
        rates: Rising.
        losses: One for each.
    """
    fall = _longest_fall(losses)
    if fall is None:
        return None
    values = smooth(losses)
    top, bottom = values[fall[0]], values[fall[-1]]
    begin, end = (
        next(place for place in fall if values[place] <= top - share * (top - bottom)) for share in (_EDGE, 1 - _EDGE)
    )
    return float(np.sqrt(rates[begin] * rates[end]))


def _longest_fall(losses: Sequence[float]) -> list[int] | None:
    """Return the places of the longest falling sequence of the smoothed losses; None where they fall by too little."""
    values = smooth(losses)
    if len(values) < _FEWEST:
        return None
    length, before = np.ones(len(values), np.int64), np.full(len(values), -1)
    for place, value in enumerate(values):
        for earlier in range(place):
            if value < values[earlier] and length[place] < length[earlier] + 1:
                length[place], before[place] = length[earlier] + 1, earlier
    found, place = [], int(np.argmax(length))
    while place >= 0:
        found.append(place)
        place = int(before[place])
    found.reverse()
    return found if values[found[0]] - values[found[-1]] > _LEAST_FALL * abs(values[0]) else None
