"""metrics.csv in a run's folder: one row per epoch, one column per metric."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from tlkit.plugin import LoggedEnd, LoggedRun

FILE = "metrics.csv"


def open_(run: LoggedRun, options: None) -> CsvFile:
    """Begin the file of a run, with the epochs that were finished before."""
    return CsvFile(run.folder / FILE, [dict(values) for values in run.before])


class CsvFile:
    """The file, which is written anew after every epoch: a later epoch may have a metric that no earlier one has.

    Args:
        path: The file.
        rows: Values of the epochs so far.
    """

    def __init__(self, path: Path, rows: list[dict[str, float]]) -> None:
        self._path, self._rows = path, rows

    def epoch(self, values: Mapping[str, float]) -> None:
        """Add a row."""
        self._rows.append(dict(values))
        self._write()

    def end(self, end: LoggedEnd) -> None:
        """Write the file where no epoch of this process did."""
        if self._rows:
            self._write()

    def _write(self) -> None:
        columns = dict.fromkeys(name for row in self._rows for name in row)
        beside = self._path.with_suffix(".csv.part")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(beside, self._path)  # a reader never sees half a file
