"""How well a network's features fit images, from the accuracy that heads reach on the output of each stage. Imports no torch.

The rule: images are "similar" where the last stage serves them as well as any, and "dissimilar" where an earlier stage serves them
better: then the later stages have to learn again, from there on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tlkit.advice.probes import Probe
from tlkit.advice.strategies import Likeness

_CLEAR = 1.0  # standard errors of a paired difference from which one stage counts as better than another: a judgement


@dataclass(frozen=True)
class Fit:
    """How the accuracy runs over the stages of one network.

    Attributes:
        likeness: The word for it.
        best: The stage that a head reads best: the last one unless an earlier one is clearly better.
        rising: Whether the last stage is clearly better than the one before it.
        gain: Accuracy of the last stage less that of the best stage before it.
        error: Standard error of that difference, of the same images.
    """

    likeness: Likeness
    best: str
    rising: bool
    gain: float
    error: float

    def words(self, last: str) -> str:
        """Say it in a sentence without its full stop.

        Args:
            last: Name of the last stage.
        """
        gain = f"{100 * abs(self.gain):.1f} points (standard error {100 * self.error:.1f})"
        if self.likeness == "dissimilar":
            return f"a head reads {self.best} better than the last stage, {last}, by {gain}: the stages after {self.best} do not fit these images"
        if self.rising:
            return f"accuracy still rises at the last stage, {last}, by {gain}: its features fit these images"
        flat = f"accuracy no longer rises at the last stage, {last}, and does not clearly fall"
        return f"{flat}: its features fit these images about as well as those before it"


def fit(probes: Mapping[str, Probe]) -> Fit:
    """Say how well the stages of a network fit images.

    Args:
        probes: Of each stage, input to output; of the same images.
    """
    names = list(probes)
    last = names[-1]
    if len(names) == 1:
        return Fit("similar", last, rising=False, gain=0.0, error=1.0)
    earlier = max(names[:-1], key=lambda name: probes[name].accuracy)
    difference = probes[last].head - probes[earlier].head
    gain, error = float(difference.mean()), _error(difference)
    if gain < -_CLEAR * error:
        return Fit("dissimilar", earlier, rising=False, gain=gain, error=error)
    return Fit("similar", last, rising=gain > _CLEAR * error, gain=gain, error=error)


def _error(differences: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the standard error of a mean of paired differences (n,), each at most 1; of none at all that of one image."""
    count = len(differences)
    if count < 2:
        return 1.0
    return float(max(differences.std(ddof=1) / np.sqrt(count), 1 / count))
