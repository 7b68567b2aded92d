"""All scores of one network's features at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from numpy.typing import ArrayLike

from tlkit.advice.scores.gbc import gbc
from tlkit.advice.scores.h_score import h_score
from tlkit.advice.scores.leep import leep, nleep
from tlkit.advice.scores.logme import logme
from tlkit.advice.scores.neighbours import nearest_neighbours

# The scores that need features alone, by the name they are shown with.
SCORES: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "LogME": logme,
    "H-score": h_score,
    "NLEEP": nleep,
    "GBC": gbc,
    "nearest neighbours": nearest_neighbours,
}


def of(
    features: ArrayLike, labels: ArrayLike, *, probabilities: ArrayLike | None = None, names: Collection[str] = tuple(SCORES)
) -> dict[str, float]:  # fmt: skip
    """Return scores by their names.

    Args:
        features: (n, d).
        labels: (n,) integers.
        probabilities: (n, s); of the network's own classes. LEEP needs them, and is left out without them.
        names: Of the scores that need features alone; by default all.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, features that are not finite, or rows that are no probabilities.
    """
    found = {name: score(features, labels) for name, score in SCORES.items() if name in names}
    return found if probabilities is None else found | {"LEEP": leep(probabilities, labels)}
