"""Read a CSV file as rows of cells: its encoding, its delimiter, its quotes, each row as long as the first.

The rule: a row that does not fit is an error with its line, never a shorter or longer row.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.errors import DataError, DataMissing, first_few

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED = 1 << 16  # characters that the delimiter is guessed from
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        path: Its file.
        columns: Their names; "1", "2", ... where no row names them.
        rows: The line on which each ends, and its cells without spaces around them.
        delimiter: Between cells.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    delimiter: str


def read_table(path: Path, *, expected: Sequence[str], encoding: str, delimiter: str, header: bool, separator: str) -> Table:
    """Read a table.

    Args:
        path: The file.
        expected: Names of columns, by which the delimiter is known.
        encoding: Of the text; "" where the file shows it.
        delimiter: "" where the file shows it.
        header: The first row names the columns.
        separator: Between the classes in a cell, and so no delimiter.

    Raises:
        DataMissing: there is no such file.
        DataError: it is no table, or a row does not fit.
    """
    text = _text(path, encoding)
    if text.lower().startswith("sep=") and not delimiter:  # how Excel says it
        told, _, text = text.partition("\n")
        delimiter = told.strip()[4:5]
    delimiter = delimiter or _delimiter(text, expected, separator)
    rows = _rows(path, text, delimiter)
    if not rows:
        raise DataError(f"{path}: is empty.")
    columns = tuple(cell.strip() for cell in rows[0][1]) if header else tuple(str(n + 1) for n in range(len(rows[0][1])))
    doubled = [name for name, times in Counter(filter(None, columns)).items() if times > 1]
    if doubled:
        raise DataError(
            f'{path}: line {rows[0][0]}: two columns are called "{doubled[0]}".',
            "rename one" if header else "data.options.header = true",
        )
    for line, cells in rows:
        if len(cells) != len(columns):
            raise DataError(
                f"{path}: line {line}: has {len(cells)} cells, and the first row has {len(columns)}.",
                f"the cells: {first_few(map(repr, cells))}",
                f"cells are parted by {_NAMES.get(delimiter, repr(delimiter))} (data.options.delimiter); a cell that holds one is put "
                f'between quotes: "a{delimiter} b"',
            )
    body = rows[1:] if header else rows
    return Table(path, columns, tuple((line, tuple(cell.strip() for cell in cells)) for line, cells in body), delimiter)


def _text(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        beside = sorted(each.name for each in path.parent.glob("*") if each.suffix.lower() in _TABLES)
        raise DataMissing(
            f"{path}: there is no such table.",
            f"tables in its folder: {first_few(beside)}" if beside else "",
            "data.options.file names another, data.options.test_file a table of test images",
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path}: is a spreadsheet or an archive, not a table as text.", "save it as CSV")
    used = encoding or ("utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    try:
        text = content.decode(used)
    except LookupError:
        raise DataError(
            f'data.options.encoding: there is no encoding "{encoding}".', 'for instance "utf-8", "latin-1"'
        ) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: line {line}: is not {used.removesuffix('-sig').upper()}: {error.reason}.",
            'data.options.encoding names another: "latin-1" (Western Europe), "cp1252" (Windows)',
        ) from error
    if "\0" in text:
        raise DataError(f"{path}: holds zero bytes, as UTF-16 does.", 'data.options.encoding = "utf-16-le", or "utf-16-be"')
    return text


def _delimiter(text: str, expected: Sequence[str], separator: str) -> str:
    """Return the delimiter by which the first row has the expected columns, else what the csv module guesses."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    possible = [each for each in _DELIMITERS if each != separator]
    for each in possible:
        if any(cell.strip() in expected for cell in next(csv.reader([first], delimiter=each), ())) and each in first:
            return each
    try:
        return csv.Sniffer().sniff(text[:_SNIFFED], delimiters="".join(possible)).delimiter
    except csv.Error:
        return ","


def _rows(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            if cells:
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        began = rows[-1][0] + 1 if rows else 1
        raise DataError(
            f"{path}: line {began}: cannot be read as cells: a quote is not closed, or text stands behind a closed one.",
            'quotes stand around a whole cell; one inside is doubled: "a ""b"" c"',
        ) from error
    return rows
