"""Recognize folders of shards, parquet files, arrays, videos, and images that a table lists, and say what reads them. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tlkit.errors import DataError
from tlkit.sources import video_files

_LOOKED = 1_000  # entries of a folder
_TABLES, _ARRAYS = (".csv", ".tsv"), (".npz", ".npy")
_TRAINED = ("train", "label")  # words in the name of a table that is trained on, unlike sample_submission.csv
_SPLITS = {
    "train": "file",
    "val": "validation_file",
    "valid": "validation_file",
    "validation": "validation_file",
    "test": "test_file",
}
_PEEK = 1 << 14  # characters of a table
_ROWS = 3  # of a table, in which a path is looked for


def problem(folder: Path) -> DataError | None:
    """Return what is said of a folder of such files; None where it has none."""
    names = list(_names(folder))
    if any(name.lower().endswith(".tar") for name in names):
        return _error(folder, "holds tar files, as WebDataset's shards are", "shards")
    if any(each.lower().endswith(".parquet") for each in (*names, *_names(folder / "data"))):
        return _error(folder, "holds parquet files, as Hugging Face's data sets are", "parquet")
    if any(name.lower().endswith(_ARRAYS) for name in names):
        return DataError(
            f"{folder}: holds arrays, and no image files.",
            "tlkit.Model.fit(x, y) takes arrays: docs/python.md; a data set of your own reads them for recipes: docs/plugins.md",
        )
    for name in sorted(names, key=lambda name: not any(word in name.lower() for word in _TRAINED)):
        if name.lower().endswith(_TABLES) and _lists_files(folder, folder / name):
            return _error(folder, f"holds a table, {name}, and images that it lists", "csv", f', file = "{name}"')
    inside = (each for name in names if (folder / name).is_dir() for each in _names(folder / name))
    if any(each.lower().endswith(video_files.SUFFIXES) for each in inside):
        return _error(folder, "holds videos in its folders", "clips")
    return None


def metadata(folder: Path) -> DataError | None:
    """Return what is said of a folder with a table of metadata in each split's folder, as Hugging Face's imagefolder has; None without."""
    names = sorted(each for each in _names(folder) if each.lower() in _SPLITS)
    found = {name: folder / name / "metadata" for name in sorted(names, key=lambda name: list(_SPLITS).index(name.lower()))}
    tables = [
        f'{_SPLITS[name.lower()]} = "{name}/metadata.csv"' for name, at in found.items() if at.with_suffix(".csv").is_file()
    ]
    if tables:
        return _error(folder, "holds a table, metadata.csv, in the folder of a split", "csv", f", {', '.join(tables)}")
    lines = next((path for at in found.values() if (path := at.with_suffix(".jsonl")).is_file()), None)
    if lines is None:
        return None
    return DataError(
        f"{folder}: holds the labels of its images in {lines.name}, which is not read.",
        f'metadata.csv in its place is, for each split: pandas.read_json("{lines}", lines=True).to_csv("{lines.with_suffix(".csv")}", index=False)',
    )


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
    """Return whether a cell of a table's first rows is the path of a file below the folder, or the name of one with or without its suffix."""
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            rows = file.read(_PEEK).splitlines()[1 : 1 + _ROWS]
    except OSError:
        return False
    cells = (cell.strip(" \"'") for row in rows for cell in re.split(r"[,;\t|]", row))
    inside = {each for name in ("", *_names(folder)) for each in _names(folder / name) if each != table.name}
    inside |= {os.path.splitext(each)[0] for each in inside}
    return any(cell and (cell in inside or os.path.isfile(folder / cell)) for cell in cells)
