"""What range tests of learning rates measured, and rates.json, the file in a recipe's folder that keeps them. Imports no torch.

The rule: everything here is plain data. `tlkit/run/range_tests.py` measures it, `tlkit/reports/` draws it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from tlkit import files
from tlkit.record import rate_suggestions

FILE, PICTURE = "rates.json", "rates.svg"  # in a recipe's folder
FORMAT = 2


@dataclass(frozen=True)
class RangeTest:
    """Training steps at rising learning rates, with the loss of each.

    Attributes:
        arm: Its name.
        seed: Of the run: initial values, order and augmentation of the images.
        ratios: The groups that moved, each with its rate as a multiple of the largest, at most 1.
        still: The groups that kept their weights.
        rates: Of the group with the largest rate, step by step, rising.
        losses: Mean training loss of each step's images.
        smoothed: The same without the noise of single batches.
        steepest: The rate at which the smoothed loss falls fastest; None where it does not fall.
        valley: The rate in the middle of its longest fall; None likewise.
        ended: Why there are fewer steps than were asked for; "" where there are not.
        passes: How many times the images were used, in part or in whole.
        frozen: Leading stages that ran as a fixed prefix.
        stored: Whether their output was read from the store.
        date: When it was measured, ISO 8601, UTC.
    """

    arm: str
    seed: int
    ratios: Mapping[str, float]
    still: tuple[str, ...]
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    valley: float | None
    ended: str
    passes: int
    frozen: int
    stored: bool
    date: str

    @classmethod
    def of(
        cls, rates: Iterable[float], losses: Iterable[float], *, arm: str, seed: int, ratios: Mapping[str, float],
        still: Iterable[str] = (), ended: str = "", passes: int = 1, frozen: int = 0, stored: bool = False,
    ) -> Self:  # fmt: skip
        """Return a test of now with its smoothed loss and its suggestions; the arguments are the attributes."""
        taken, known = tuple(rates), tuple(losses)
        smoothed = rate_suggestions.smooth(known)
        return cls(
            arm, seed, dict(ratios), tuple(still), taken, known, smoothed, rate_suggestions.steepest(taken, known),
            rate_suggestions.valley(taken, known), ended, passes, frozen, stored, datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip

    @property
    def title(self) -> str:
        """The groups that moved, in words."""
        return " and ".join(self.ratios) if len(self.ratios) < 3 else f"{', '.join(self.ratios)} together"

    @property
    def suggested(self) -> dict[str, float] | None:
        """What the test would set: each group's rate by the valley rule, to two digits; None where the loss does not fall."""
        return None if self.valley is None else self.of_groups(self.valley)

    def of_groups(self, rate: float) -> dict[str, float]:
        """Return each group's rate, to two digits, where the largest is `rate`."""
        return {name: float(f"{rate * ratio:.2g}") for name, ratio in self.ratios.items()}

    def record(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {**asdict(self), "suggested": self.suggested}


_TESTS: TypeAdapter[tuple[RangeTest, ...]] = TypeAdapter(tuple[RangeTest, ...])


def record(tests: Iterable[RangeTest]) -> dict[str, Any]:
    """Return what rates.json holds, and `--json` prints."""
    return {"format": FORMAT, "tests": [each.record() for each in tests]}


def load(folder: Path) -> tuple[RangeTest, ...]:
    """Return the tests that a recipe's folder keeps; none where its file is missing, damaged or of another version."""
    path = folder / FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["format"] != FORMAT:
            return ()
        return _TESTS.validate_python(
            [{name: value for name, value in each.items() if name != "suggested"} for each in known["tests"]]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        return ()


def keep(folder: Path, tests: Iterable[RangeTest]) -> tuple[RangeTest, ...]:
    """Write tests beside those of other arms, which are kept; return all of them.

    Args:
        folder: runs/<recipe>, which is made where it is not there.
        tests: Take the place of those of the same arms.

    Raises:
        OSError: the file cannot be written.
    """
    new = tuple(tests)
    arms = {each.arm for each in new}
    every = (*(each for each in load(folder) if each.arm not in arms), *new)
    files.make_folder(folder)
    files.replace(folder / FILE, json.dumps(record(every)) + "\n")
    return every
