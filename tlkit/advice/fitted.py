"""The constants of advice in fitted.json, which `python -m benchmarks.advice_fit` writes from measured image sets. Imports no torch.

The rule: they say from how many sets they are; weights from none are judgements.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("fitted.json")
FEATURES = ("probe", "prior", "NLEEP", "GBC")
NOMINAL = 0.9  # of the conformal interval
FEWEST = 9  # sets that give one: ceil((9 + 1) * 0.9) = 9


@dataclass(frozen=True)
class Fitted:
    """Constants.

    Attributes:
        sets: Image sets that the weights were fitted on; 0 where they are judgements.
        date: When, ISO 8601.
        weights: Of each of `FEATURES`.
        errors: How far the expected accuracy was from that of the tested run, of each set on which advice was asked for.
    """

    sets: int
    date: str
    weights: dict[str, float]
    errors: tuple[float, ...]

    @property
    def half_width(self) -> float | None:
        """Half the width of the 90 % interval of an expected accuracy; None where there are too few sets for one."""
        return half_width(self.errors)

    @property
    def words(self) -> str:
        """What the weights are made of."""
        return f"fitted on {self.sets} image sets, {self.date}" if self.sets else "judgements, fitted on no image set yet"

    def record(self) -> dict[str, Any]:
        """Return what fitted.json holds."""
        return {"sets": self.sets, "date": self.date, "weights": self.weights, "errors": list(self.errors)}


@cache
def load() -> Fitted:
    """Return the constants that ship."""
    known = json.loads(FILE.read_text(encoding="utf-8"))
    return Fitted(known["sets"], known["date"], {name: known["weights"][name] for name in FEATURES}, tuple(known["errors"]))


def half_width(errors: Sequence[float]) -> float | None:
    """Return the error that a new set exceeds in at most one of ten cases, if it is like these; None for fewer than nine.

    Args:
        errors: Absolute, of sets on which nothing was fitted.

    Source: split conformal prediction, Lei et al. 2018, arXiv:1604.04173, algorithm 2: the ceil((n + 1) 0.9)-th smallest.
    """
    place = math.ceil((len(errors) + 1) * NOMINAL)
    return sorted(errors)[place - 1] if 0 < place <= len(errors) else None
