"""Which columns of a table are meant, and what to say where one is missing or not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tlkit.errors import DataError, nearest
from tlkit.plugin import image_kinds
from tlkit_csv import CsvOptions
from tlkit_csv.table import Table

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")
_PATH, _OTHER_PATHS = "path", ("image", "file", "filename", "file_name", "filepath")  # lower case
_GROUPS = re.compile(r"(patient|subject|person|individual|donor|group)s?([ _-]?(id|no|nr|name|number))?", re.IGNORECASE)
ROLES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def image_column(table: Table, folder: Path, options: CsvOptions) -> str:
    """Return the column of paths: that of the option, or in the place of a missing "path" the only one with another usual name."""
    if options.image != _PATH or _PATH in table.columns:
        return options.image
    taken = {options.label, options.split, options.group, *options.classes}
    firsts = zip(table.columns, _first(table), strict=True)
    usual = [(name, cell) for name, cell in firsts if name.lower() in _OTHER_PATHS and name not in taken]
    if len(usual) == 1 and _is_image(folder, options, usual[0][1]):
        return usual[0][0]
    return options.image


def check_columns(table: Table, folder: Path, wanted: dict[str, str], options: CsvOptions) -> None:
    """Refuse a table that lacks a column, with what it seems to be called."""
    names = table.columns
    for name in options.classes:
        if name not in names:
            raise DataError(f'{table.path}: has no column "{name}", which data.options.classes names.', nearest(name, names))
    for option, column in wanted.items():
        if not column or column in names:
            continue
        problem = f'{table.path}: has no column "{column}".'
        columns = f"columns: {', '.join(names)}; data.options.{option} names another"
        if option == "image" and any(_is_image(folder, options, cell) for cell in names):
            raise DataError(
                f"{table.path}: has no row that names the columns; its first row lists an image.", "data.options.header = false"
            )
        if option == "image":
            likely = [name for name, cell in zip(names, _first(table), strict=True) if _is_image(folder, options, cell)]
            hints = [f'data.options.image = "{name}"' for name in likely[:1]]
            raise DataError(problem, *hints, columns, "" if hints else nearest(column, names))
        if option == "label" and len(marked := _columns_of_marks(table)) > 1:
            listed = ", ".join(f'"{name}"' for name in marked)
            raise DataError(
                problem,
                f"if each of these columns is a class: data.options.classes = [{listed}]",
                columns,
            )
        raise DataError(problem, columns, nearest(column, names))


def refuse_unread_split(table: Table, label: str, options: CsvOptions) -> None:
    """Refuse a column of train, val and test that no option names: the images would be divided otherwise."""
    if options.split or options.test_file or options.validation_file:
        return
    others = set(table.columns).difference([label, *options.classes])
    found = {place: set[str]() for place, name in enumerate(table.columns) if name in others}  # what a column says; roles alone
    for _, cells in table.rows():
        found = {place: said | {cells[place].lower()} for place, said in found.items() if cells[place].lower() in ROLES}
        if not found:
            return
    for place, said in found.items():
        name = table.columns[place]
        if len(said) > 1:
            raise DataError(
                f'{table.path}: column "{name}" says which images are for what ({", ".join(sorted(said))}), and no option names it.',
                f'data.options.split = "{name}"',
                "to divide the images anew all the same: data.split.fractions = [0.7, 0.1, 0.2] beside it",
            )


def doubts(table: Table, options: CsvOptions) -> tuple[list[str], list[str]]:
    """Return what to say of cells that may mean something else: of empty ones of classes, and of groups that no option names."""
    used = {options.image, options.label, options.split, *options.classes}
    likely = [name for name in table.columns if not options.group and name not in used and _GROUPS.fullmatch(name)]
    marked = options.classes if options.several else []
    at = {name: table.columns.index(name) for name in (*marked, *likely)}
    empty: Counter[str] = Counter()
    members: dict[str, Counter[str]] = {name: Counter() for name in likely}
    for _, cells in table.rows() if at else ():
        empty.update(name for name in marked if not cells[at[name]])
        for name, counted in members.items():
            counted[cells[at[name]]] += 1
    where = f"{table.path.name}: column"
    cells_said = [f'{where} "{name}": empty cells ({count:,}) are read as 0' for name, count in empty.items()]
    groups_said = [
        f'{where} "{name}": images with the same value may be parted by a split; data.options.group = "{name}" keeps them together'
        for name, counted in members.items()
        if 1 < len(counted) < counted.total()
    ]
    return cells_said, groups_said


def _first(table: Table) -> Sequence[str]:
    return next((cells for _, cells in table.rows()), [""] * len(table.columns))


def _columns_of_marks(table: Table) -> list[str]:
    """Return the columns that say 1 or 0 in every row."""
    marks, places, rows = {*YES, *NO[:-1]}, [*range(len(table.columns))], 0
    for _, cells in table.rows():
        rows, places = rows + 1, [place for place in places if cells[place].lower() in marks]
    return [table.columns[place] for place in places] if rows else []


def _is_image(folder: Path, options: CsvOptions, cell: str) -> bool:
    name = f"{options.prefix}{cell}{options.suffix}"
    return bool(cell) and (Path(name).suffix.lower() in image_kinds.SUFFIXES or (folder / name).is_file())
