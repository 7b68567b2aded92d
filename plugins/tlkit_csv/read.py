"""Read a table of images: `find` from the table alone which files there are, `read` their classes and splits."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing, nearest
from tlkit.plugin import DataFiles, Images, Split, hold_out
from tlkit_csv import CsvOptions

_ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    labels: tuple[str, ...]
    split: str
    group: str


def find(folder: Path, options: CsvOptions | None = None) -> DataFiles:
    """Return the table and the images that it lists, in its order.

    Raises:
        DataMissing: there is no table.
        DataError: it cannot be read, lacks a column, or lists a file that is not there.
    """
    table = folder / (options or CsvOptions()).file
    rows = _rows(table, options or CsvOptions())
    for row in rows:
        if not (folder / row.image).is_file():
            raise DataError(
                f"{table}: line {row.line}: {folder / row.image}: there is no such file.", "paths begin at the table's folder"
            )
    return DataFiles(root=folder, files=(table, *(folder / row.image for row in rows)))


def read(found: DataFiles, options: CsvOptions | None = None) -> Images:
    """Return the splits; classes are the sorted names that training images have.

    With a separator an image has any number of them, and labels are (N, classes) uint8.

    Without a column of splits, of each class (of each set of classes) the max(1, round(test_fraction * n)) images whose group, or
    else path, has the smallest SHA-256 become the test set, whole groups at a time.

    Raises:
        DataError: fewer than two classes, a class without training images, or a split of another name.
    """
    options = options or CsvOptions()
    table, *files = found.files
    rows = _rows(table, options)
    parts = _parts(rows, table) if options.split else _split_off(rows, options.test_fraction)
    classes = tuple(sorted({label for index in parts["train"] for label in rows[index].labels}))
    if len(classes) < 2:
        raise DataError(f"{table}: its training images are of one class ({', '.join(classes)}), and two are needed.")
    splits = {}
    for name, chosen in parts.items():
        for row in (rows[index] for index in chosen):
            for label in set(row.labels) - set(classes):
                raise DataError(
                    f'{table}: line {row.line}: class "{label}" of {name} has no training images.', nearest(label, classes)
                )
        held = np.array([[label in rows[index].labels for label in classes] for index in chosen], np.uint8)
        splits[name] = Split(
            targets=held if options.separator else held.argmax(1).astype(np.int64),
            files=tuple(files[index] for index in chosen),
            groups=np.array([rows[index].group for index in chosen]) if options.group else None,
        )
    return Images(classes, splits, test_held_out=not options.split)


def _rows(table: Path, options: CsvOptions) -> list[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            wanted = {"image": options.image, "label": options.label, "split": options.split, "group": options.group}
            for option, column in wanted.items():
                if column and column not in names:
                    raise DataError(
                        f'{table}: has no column "{column}".',
                        f"columns: {', '.join(names)}; data.options.{option} names another",
                        nearest(column, names),
                    )
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise DataMissing(f"{table}: there is no such table.", "data.options.file names another") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table}: cannot be read as CSV: {error}.", "comma-separated, UTF-8, the first row names the columns"
        ) from error
    found = []
    for line, row in rows:
        values = {option: (row.get(column) or "").strip() if column else "" for option, column in wanted.items()}
        for option, column in wanted.items():
            if column and not values[option] and not (option == "label" and options.separator):
                raise DataError(f"{table}: line {line}: {column} is empty.")
        found.append(_Row(line, values["image"], _labels(values["label"], options), values["split"], values["group"]))
    if not found:
        raise DataError(f"{table}: lists no images.")
    return found


def _labels(cell: str, options: CsvOptions) -> tuple[str, ...]:
    if not options.separator:
        return (cell,)
    names = (name.strip() for name in cell.split(options.separator))
    return tuple(dict.fromkeys(name for name in names if name and name != options.none))


def _parts(rows: list[_Row], table: Path) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        role = _ROLES.get(row.split.lower())
        if role is None:
            raise DataError(f'{table}: line {row.line}: there is no split "{row.split}".', f"one of: {', '.join(_ROLES)}")
        parts.setdefault(role, []).append(index)
    if "train" not in parts:
        raise DataError(f"{table}: lists no training images.", 'rows whose split is "train"')
    return parts


def _split_off(rows: list[_Row], fraction: float) -> dict[str, list[int]]:
    held_out = hold_out([" ".join(row.labels) for row in rows], [row.group or row.image for row in rows], fraction)
    train = [index for index, tested in enumerate(held_out) if not tested]
    return {"train": train, "test": [index for index, tested in enumerate(held_out) if tested]}
