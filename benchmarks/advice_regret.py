"""How much worse a choice is than the best of a grid, without rewarding luck: the best is chosen on one half of the test images and
scored on the other, and so is the choice. Numpy alone.

The best of many near-equal configurations looks better on its test images than it is. Measured on the images that chose it, no advice
could reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]  # (images,) or (configurations, images): which test images are right
_HALVES = 400


@dataclass(frozen=True)
class Regret:
    """Accuracy that a choice lost, 0 to 1.

    Attributes:
        mean: Over halves; negative where the choice beats the grid.
        interval: 95 %, over images drawn with replacement and over halves.
    """

    mean: float
    interval: tuple[float, float]


def regret(grid: Right, chosen: Right, *, seed: int = 0) -> Regret:
    """Return the regret of a choice.

    Args:
        grid: Of every configuration (configurations, images).
        chosen: Of the choice (images,).
        seed: Of halves and draws.
    """
    draws, count = np.random.default_rng(seed), grid.shape[1]
    plain, drawn = [], []
    for _ in range(_HALVES):
        order = draws.permutation(count)
        first, second = order[: count // 2], order[count // 2 :]
        plain.append(_lost(grid, chosen, first, second))
        drawn.append(_lost(grid, chosen, draws.choice(first, len(first)), draws.choice(second, len(second))))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Regret(float(np.mean(plain)), (float(low), float(high)))


def mean_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over sets."""
    draws = np.random.default_rng(seed)
    means = np.asarray(values)[draws.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def best_elsewhere(accuracies: Mapping[str, Mapping[str, float]], families: Mapping[str, str], asked: str) -> str:
    """Return the configuration that is best on average over the sets of other families, among those that the asked set has.

    Args:
        accuracies: Of each set the accuracy of each configuration.
        families: Of each set.
        asked: The set.
    """
    others = [each for name, each in accuracies.items() if families[name] != families[asked]]
    return max(
        accuracies[asked],
        key=lambda name: float(np.mean([each[name] for each in others if name in each] or [-1.0])),
    )


def by(value: Callable[[str], float], names: Sequence[str]) -> str:
    """Return the name with the largest value; the first of equal ones."""
    return max(names, key=value)


def _lost(grid: Right, chosen: Right, first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    best = int(grid[:, first].mean(1).argmax())
    return float(grid[best, second].mean() - chosen[second].mean())
