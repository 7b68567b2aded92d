"""Maps of features that bring two domains into one space: what a closed-form method of domain adaptation returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """A map of features: x * weight + bias, or x @ weight + bias.

    Attributes:
        weight: (F,) one factor for each feature, or (F, D) a matrix.
        bias: (D,), with D = F where `weight` has one factor for each feature.
    """

    weight: Features
    bias: Features

    def __call__(self, x: NDArray[Any]) -> Features:
        """Return features (N, F) as (N, D) float64."""
        wide = np.asarray(x, dtype=np.float64)
        return (wide * self.weight if self.weight.ndim == 1 else wide @ self.weight) + self.bias

    @property
    def changes_nothing(self) -> bool:
        """Whether features stay as they are."""
        return self.weight.ndim == 1 and bool((self.weight == 1).all() and (self.bias == 0).all())


@dataclass(frozen=True, eq=False)
class Alignment:
    """The maps that bring both domains into one space. A classifier is fitted to mapped source features.

    Attributes:
        source: Map of source features (N, F) to (N, D).
        target: Map of target features (M, F) to (M, D).
    """

    source: Affine
    target: Affine
