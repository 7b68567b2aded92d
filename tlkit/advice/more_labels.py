"""What more labels would bring: accuracy of a head on stored features over the number of images, continued. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tlkit.advice.forecast import continued
from tlkit.advice.probes import Labels, Rows, probe
from tlkit.record.advice import MoreLabels

_PARTS = (0.125, 0.25, 0.5, 1.0)
_DRAWS = 5  # of each part but the whole: other images each time
HEADS = (len(_PARTS) - 1) * _DRAWS + 1  # that `curve` fits
_FEWEST = 20  # images of a part, or two of each class
_RESAMPLED = 400


def curve(
    rows: Rows, labels: Labels, groups: NDArray[np.int64], *, over: Callable[[], bool] = lambda: False
) -> MoreLabels | None:
    """Return the accuracy at n/8, n/4, n/2 and n images of one class each, and what twice as many would bring; None for too few points.

    Args:
        rows: Outputs of a stage (n, features).
        labels: The classes (n,).
        groups: As `probes.probe` has them.
        over: Whether there is no time for more, asked before each head; then it is None.
    """
    draws = np.random.default_rng(0)
    points: list[tuple[int, NDArray[np.float64]]] = []
    for part in _PARTS:
        count = round(part * len(labels))
        if count < max(_FEWEST, 2 * len(np.unique(labels))):
            continue
        scores = []
        for _ in range(1 if part == 1.0 else _DRAWS):
            if over():
                return None
            chosen = np.sort(_balanced(labels, count, draws))
            if min(np.bincount(np.unique(labels[chosen], return_inverse=True)[1])) < 2:
                continue
            scores.append(probe(rows[chosen], labels[chosen], groups[chosen]).head)
        if scores:
            points.append((count, np.concatenate(scores)))
    if len(points) < 2:
        return None
    means = [float(scores.mean()) for _, scores in points]
    sizes = [count for count, _ in points]
    least = 0.5 / sizes[-1]
    gain = continued(sizes, means, 2 * sizes[-1], least=least) - means[-1]
    again = []
    for _ in range(_RESAMPLED):
        drawn = [float(scores[draws.integers(0, len(scores), count)].mean()) for count, scores in points]
        again.append(continued(sizes, drawn, 2 * sizes[-1], least=least) - drawn[-1])
    low, high = np.percentile(again, [2.5, 97.5])
    return MoreLabels(tuple(sizes), tuple(means), gain, (float(low), float(high)))


def _balanced(labels: Labels, count: int, draws: np.random.Generator) -> NDArray[np.int64]:
    from tlkit.advice.sample import order

    shuffled = draws.permutation(len(labels))
    return np.asarray(shuffled[order(labels[shuffled], np.arange(len(labels)))[:count]])
