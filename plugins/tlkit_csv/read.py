"""Read a table of images: `find` from the table alone which files there are, `read` their classes and splits."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, nearest
from tlkit.plugin import DataFiles, Images, Split, hold_out, image_kinds
from tlkit.reading import spelt_otherwise
from tlkit_csv import CsvOptions
from tlkit_csv.columns import NO, ROLES, YES, check_columns, doubts, image_column, refuse_unread_split
from tlkit_csv.table import Table, read_table


@dataclass(frozen=True)
class _Row:
    """A row of a table.

    Attributes:
        table: That it is in.
        column: Of the paths.
        line: On which it ends.
        image: The path that it names, with prefix and suffix.
        labels: Classes.
        split: What its column says, or which table it is in.
        group: What belongs together.
    """

    table: Path
    column: str
    line: int
    image: str
    labels: tuple[str, ...]
    split: str
    group: str


def find(folder: Path, options: CsvOptions | None = None) -> DataFiles:
    """Return the tables and the images that they list, in their order.

    Raises:
        DataMissing: there is no table.
        DataError: it cannot be read, lacks a column, lists a file that is not there, or one twice.
    """
    options = options or CsvOptions()
    tables, rows = _read(folder, options)
    images = [_path(folder, row) for row in rows]
    for row, image in zip(rows, images, strict=True):
        if not os.path.isfile(image):  # unlike Path.is_file it answers for a name that no file can have
            raise DataError(
                f"{row.table}: line {row.line}: {image}: {'is a folder' if os.path.isdir(image) else 'there is no such file'}.",
                _elsewhere(folder, row, options)
                or spelt_otherwise(image)
                or "paths begin at the table's folder; data.options.prefix and data.options.suffix add what they lack",
            )
    _refuse_doubles(rows, images)
    assumed = {row.table: row.column for row in rows if options.header and row.column != options.image}
    said = dict.fromkeys(f'{table.name}: paths are read from column "{name}"' for table, name in assumed.items())
    empty, groups = (tuple(chain(*lines)) for lines in zip(*(doubts(table, options) for table in tables), strict=True))
    return DataFiles(folder, (*(table.path for table in tables), *images), remarks=(*said, *empty), on_splits=groups)


def read(found: DataFiles, options: CsvOptions | None = None) -> Images:
    """Return the splits; classes are the names that training images have, sorted, by value where all are whole numbers.

    With a separator, or with `several`, an image has any number of them, and labels are (N, classes) uint8.

    Without a column or a table that says it, of each class (of each set of classes) the max(1, round(test_fraction * n)) images whose
    group, or else path, has the smallest SHA-256 become the test set, whole groups at a time.

    Raises:
        DataError: fewer than two classes, a class without training images, or a split of another name.
    """
    options = options or CsvOptions()
    tables, rows = _read(found.root, options)
    files = found.files[len(tables) :]
    parts = _parts(rows, options)
    classes = _sorted({label for index in parts["train"] for label in rows[index].labels})
    if len(classes) < 2:
        raise DataError(f"{tables[0]}: its training images are of one class ({', '.join(classes)}), and two are needed.")
    splits = {}
    for name, chosen in parts.items():
        mine = [rows[index] for index in chosen]
        _refuse_untrained(mine, name, classes)
        splits[name] = Split(
            targets=_targets(mine, classes, several=bool(options.separator) or options.several),
            files=tuple(files[index] for index in chosen),
            groups=np.array([row.group for row in mine]) if options.group else None,
        )
    return Images(classes, splits, test_held_out=_held_out(options))


def _read(folder: Path, options: CsvOptions) -> tuple[list[Table], list[_Row]]:
    """Return the tables and all rows."""
    named = {"": options.file, "validation": options.validation_file, "test": options.test_file}
    tables: list[Table] = []
    rows: list[_Row] = []
    for split, name in named.items():
        if name:
            table, found = _rows(folder / name, folder, options, split)
            tables.append(table)
            rows += found
    return tables, rows


def _rows(path: Path, folder: Path, options: CsvOptions, split: str) -> tuple[Table, list[_Row]]:
    """Return one table and its rows; `split` is that of all, or "" where a column may say it."""
    image, label = options.image, options.label
    if not options.header:
        image, label = ("1" if image == "path" else image), ("2" if label == "label" else label)
    table = read_table(
        path, expected=(image, label), encoding=options.encoding, delimiter=options.delimiter, header=options.header,
        separator=options.separator,
    )  # fmt: skip
    image = image_column(table, folder, options) if options.header else image
    wanted = {"image": image, "label": "" if options.classes else label, "split": options.split, "group": options.group}
    if split:
        wanted["split"] = ""
    check_columns(table, folder, wanted, options)
    refuse_unread_split(table, label, options)
    at = {option: table.columns.index(column) for option, column in wanted.items() if column}
    columns = [table.columns.index(name) for name in options.classes]
    rows = []
    for line, cells in table.rows():
        for option, place in at.items():
            if not cells[place] and not (option == "label" and options.separator):
                raise DataError(f"{path}: line {line}: {wanted[option]} is empty.")
        marked = _marked(path, line, cells, columns, options) if options.classes else ()
        labels = marked if options.classes else _labels(cells[at["label"]], options)
        said = cells[at["split"]] if "split" in at else split
        group = cells[at["group"]] if "group" in at else ""
        rows.append(_Row(path, image, line, f"{options.prefix}{cells[at['image']]}{options.suffix}", labels, said, group))
    if not rows:
        raise DataError(f"{path}: lists no images.")
    return table, rows


def _marked(path: Path, line: int, cells: Sequence[str], columns: Sequence[int], options: CsvOptions) -> tuple[str, ...]:
    """Return the classes whose columns say 1."""
    found = []
    for name, place in zip(options.classes, columns, strict=True):
        cell = cells[place].lower()
        if cell not in (*YES, *NO):
            raise DataError(f'{path}: line {line}: {name} is "{cells[place]}".', "1 for an image of this class, else 0")
        if cell in YES:
            found.append(_spelt(name))
    if not options.several and len(found) != 1:
        raise DataError(
            f"{path}: line {line}: is of {len(found)} classes{': ' + ', '.join(found) if found else ''}.",
            "data.options.several = true, with a multi-label head, where an image may have any number",
        )
    return tuple(found)


def _labels(cell: str, options: CsvOptions) -> tuple[str, ...]:
    if not options.separator:
        return (_spelt(cell),)
    names = (_spelt(name) for name in cell.split(options.separator))
    return tuple(dict.fromkeys(name for name in names if name and name != options.none))


def _spelt(name: str) -> str:
    """Return a class name in one Unicode form, without spaces at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    listed = sorted(names)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in listed):
        listed.sort(key=int)
    return tuple(listed)


def _targets(rows: Sequence[_Row], classes: Sequence[str], *, several: bool) -> NDArray[np.int64] | NDArray[np.uint8]:
    place = {name: index for index, name in enumerate(classes)}
    if not several:
        return np.array([place[row.labels[0]] for row in rows], np.int64)
    held = np.zeros((len(rows), len(classes)), np.uint8)
    for index, row in enumerate(rows):
        held[index, [place[label] for label in row.labels]] = 1
    return held


def _refuse_untrained(rows: Sequence[_Row], split: str, classes: Sequence[str]) -> None:
    known = set(classes)
    for row in rows:
        for label in row.labels:
            if label not in known:
                raise DataError(
                    f'{row.table}: line {row.line}: class "{label}" of {split} has no training images.', nearest(label, classes)
                )


def _path(folder: Path, row: _Row) -> Path:
    """Return an image's file, below the folder or else that of the table; a path of Windows is understood."""
    path = folder / row.image
    if "\\" in row.image and not os.path.isfile(path):
        path = folder / row.image.replace("\\", "/")
    beside = row.table.parent / path.relative_to(folder) if row.table.parent != folder and path.is_relative_to(folder) else path
    return beside if beside != path and not os.path.isfile(path) and os.path.isfile(beside) else path


def _elsewhere(folder: Path, row: _Row, options: CsvOptions) -> str:
    """Return the options with which an image's file is there; "" where nothing near helps."""
    cell = row.image.removeprefix(options.prefix).removesuffix(options.suffix)
    places = ["", *(f"{each.name}/" for each in sorted(folder.iterdir()) if each.is_dir())] if folder.is_dir() else []
    suffixes = image_kinds.SUFFIXES if options.channels is None else image_kinds.BAND_SUFFIXES
    for place in places:
        for suffix in ("", *suffixes, *(each.upper() for each in suffixes)):
            if os.path.isfile(folder / f"{place}{cell}{suffix}"):
                told = {"prefix": place, "suffix": suffix}
                return "; ".join(f'data.options.{name} = "{value}"' for name, value in told.items() if value)
    return ""


def _refuse_doubles(rows: Sequence[_Row], images: Sequence[Path]) -> None:
    """Refuse an image that is listed twice: it would be trained on and tested, or count twice."""
    seen: dict[str, _Row] = {}
    doubled = []
    for row, image in zip(rows, images, strict=True):
        first = seen.setdefault(os.path.normpath(image), row)
        if first is not row:
            doubled.append((first, row))
    if not doubled:
        return
    lines = [_doubled(first, row) for first, row in doubled[:5]]
    many = f"{len(doubled):,} rows list an image again" if len(doubled) > 1 else "a row lists an image again"
    several = any(first.labels != row.labels for first, row in doubled)
    raise DataError(
        f"{rows[0].table}: {many}: {lines[0]}.",
        *lines[1:],
        "leave one row of each",
        "an image of several classes is one row, with data.options.separator between them" if several else "",
    )


def _doubled(first: _Row, row: _Row) -> str:
    where = "" if first.table == row.table else f"{first.table.name} and {row.table.name}, "
    apart = [
        f"{name} {one or 'none'} and {other or 'none'}"
        for name, one, other in (
            ("class", ", ".join(first.labels), ", ".join(row.labels)),
            ("split", first.split, row.split),
        )
        if one != other
    ]
    named = row.image if row.image == first.image else f"{first.image} and {row.image}"
    return f"{where}lines {first.line} and {row.line}: {named}{' (' + '; '.join(apart) + ')' if apart else ''}"


def _held_out(options: CsvOptions) -> bool:
    """Return whether no table and no column says which images are test images."""
    return not (options.split or options.test_file or options.validation_file)


def _parts(rows: Sequence[_Row], options: CsvOptions) -> dict[str, list[int]]:
    if _held_out(options):
        return _split_off(rows, options.test_fraction)
    parts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        role = ROLES.get(row.split.lower(), None if row.split else "train")
        if role is None:
            raise DataError(f'{row.table}: line {row.line}: there is no split "{row.split}".', f"one of: {', '.join(ROLES)}")
        parts.setdefault(role, []).append(index)
    if "train" not in parts:
        raise DataError(f"{rows[0].table}: lists no training images.", 'rows whose split is "train"')
    return parts


def _split_off(rows: Sequence[_Row], fraction: float) -> dict[str, list[int]]:
    held_out = hold_out([" ".join(row.labels) for row in rows], [row.group or row.image for row in rows], fraction)
    train = [index for index, tested in enumerate(held_out) if not tested]
    test = [index for index, tested in enumerate(held_out) if tested]
    return {"train": train, "test": test} if fraction else {"train": train}
