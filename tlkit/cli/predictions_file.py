"""Files that the command predict writes: a CSV file that takes its place when it is whole, and names of files per picture."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.errors import writable

if TYPE_CHECKING:
    from tlkit.reports.prediction_csv import PredictionCsv


_OVERLAY = "-overlay"  # what the name of a second file of a picture ends with


@contextlib.contextmanager
def written(path: Path | None, width: int, columns: Sequence[str]) -> Iterator[PredictionCsv | None]:
    """Open a CSV file that takes its place when all rows are written; None where none is asked for.

    Args:
        path: The file.
        width: Number of classes of a row.
        columns: What a row begins with.
    """
    from tlkit import files
    from tlkit.reports.prediction_csv import PredictionCsv

    if path is None:
        yield None
        return
    with writable(path, "another file: --csv FILE"), files.replacing(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="", errors="backslashreplace", write_through=True)
        yield PredictionCsv(text, columns, width)
        text.flush()
        text.detach()


def names(paths: Sequence[os.PathLike[str]]) -> list[str]:
    """Return what the files of each picture begin with: its name, with a number where another picture's file has it."""
    taken: set[str] = set()
    found = []
    for path in paths:
        stem = Path(path).stem
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        free = (name for name in itertools.chain([stem], numbered) if taken.isdisjoint(_files(name)))
        found.append(next(free))
        taken.update(_files(found[-1]))
    return found


def _files(name: str) -> tuple[str, str]:
    """The stems of a picture's files."""
    return name, f"{name}{_OVERLAY}"
