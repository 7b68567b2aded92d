"""Predictions as CSV, a row per image or frame, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one


class PredictionCsv:
    """Writes a row for each image or frame: which it is, classes with their probabilities, and why it cannot be read.

    Args:
        file: Opened with newline="".
        which: Names of the first columns, which say which image it is.
        columns: Number of classes of a row.
    """

    def __init__(self, file: TextIO, which: Sequence[str], columns: int) -> None:
        self._writer, self._columns = csv.writer(file), columns
        ranks = [""] if columns == 1 else [f"_{rank}" for rank in range(1, columns + 1)]
        self._writer.writerow([*which, *(f"{name}{rank}" for rank in ranks for name in ("class", "probability")), "error"])

    def add(self, which: Sequence[str], ranked: Sequence[tuple[str, float]], error: str = "") -> None:
        """Write the row of an image.

        Args:
            which: Its first columns: its path, and of a frame where it is in the video.
            ranked: Its classes with their probabilities; more than there are columns are left out.
            error: Why it cannot be read; "" where it can.
        """
        cells = [cell for name, probability in ranked[: self._columns] for cell in (safe(name), f"{probability:.6g}")]
        cells += [""] * (2 * self._columns - len(cells))
        self._writer.writerow([*map(safe, which), *cells, safe(error)])


def safe(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula: with an apostrophe before what would begin one.

    Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if text.startswith(_FORMULA) else text
