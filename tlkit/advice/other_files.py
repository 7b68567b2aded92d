"""Recognize folders of tar shards, of videos, and of images that a table lists, and say what reads them. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tlkit.errors import DataError
from tlkit.sources import video_files

_LOOKED = 1_000  # entries of a folder
_TABLES = (".csv", ".tsv")
_PEEK = 1 << 14  # characters of a table
_ROWS = 3  # of a table, in which a path is looked for


def problem(folder: Path) -> DataError | None:
    """Return what is said of a folder of such files; None where it has none."""
    names = list(_names(folder))
    if any(name.lower().endswith(".tar") for name in names):
        return _error(folder, "holds tar files, as WebDataset's shards are", "shards")
    for name in names:
        if name.lower().endswith(_TABLES) and _lists_files(folder, folder / name):
            return _error(folder, f"holds a table, {name}, and images that it lists", "csv", f', file = "{name}"')
    inside = (each for name in names if (folder / name).is_dir() for each in _names(folder / name))
    if any(each.lower().endswith(video_files.SUFFIXES) for each in inside):
        return _error(folder, "holds videos in its folders", "clips")
    return None


def _error(folder: Path, what: str, name: str, more: str = "") -> DataError:
    reads = f'data = {{ name = "{name}", options = {{ path = "{folder}"{more} }} }}'
    return DataError(f"{folder}: {what}.", f"a recipe reads it with {reads}: docs/data.md")


def _names(folder: Path) -> Iterator[str]:
    """Yield the first names in a folder, sorted; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entry.name for entry in islice(entries, _LOOKED))
    except OSError:
        return


def _lists_files(folder: Path, table: Path) -> bool:
    """Return whether a cell of a table's first rows is the path of a file below the folder."""
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            rows = file.read(_PEEK).splitlines()[1 : 1 + _ROWS]
    except OSError:
        return False
    cells = (cell.strip(" \"'") for row in rows for cell in re.split(r"[,;\t|]", row))
    return any(cell and os.path.isfile(folder / cell) for cell in cells)
