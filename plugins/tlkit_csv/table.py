"""Read a CSV file as rows of cells: its encoding, its delimiter, its quotes, each row as long as the first.

The rule: a row that does not fit is an error with its line, never a shorter or longer row. Rows are parsed as they are asked for, so
that a table of many columns takes no more memory than its text.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
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
        delimiter: Between cells.
        text: The whole file's.
        header: The first row names the columns.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    text: str
    header: bool

    def rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Return the line on which each row ends, and its cells without spaces around them.

        Raises:
            DataError: a row does not fit.
        """
        for number, (line, cells) in enumerate(_rows(self.path, self.text, self.delimiter)):
            if len(cells) != len(self.columns):
                raise self._unfit(line, cells)
            if number or not self.header:
                yield line, tuple(cell.strip() for cell in cells)

    def _unfit(self, line: int, cells: Sequence[str]) -> DataError:
        return DataError(
            f"{self.path}: line {line}: has {len(cells)} cells, and the first row has {len(self.columns)}.",
            f"the cells: {first_few(map(repr, cells))}",
            f"cells are parted by {_NAMES.get(self.delimiter, repr(self.delimiter))} (data.options.delimiter); a cell that holds one is "
            f'put between quotes: "a{self.delimiter} b"',
        )


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
        DataError: it is no table.
    """
    text = _text(path, encoding)
    if text.lower().startswith("sep=") and not delimiter:  # how Excel says it
        told, _, text = text.partition("\n")
        delimiter = told.strip()[4:5]
    delimiter = delimiter or _delimiter(text, expected, separator)
    line, first = next(_rows(path, text, delimiter), (0, []))
    if not first:
        raise DataError(f"{path}: is empty.")
    columns = tuple(cell.strip() for cell in first) if header else tuple(str(n + 1) for n in range(len(first)))
    doubled = [name for name, times in Counter(filter(None, columns)).items() if times > 1]
    if doubled:
        raise DataError(
            f'{path}: line {line}: two columns are called "{doubled[0]}".',
            "rename one" if header else "data.options.header = true",
        )
    return Table(path, columns, delimiter, text, header)


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
    first = next((line for line in _lines(text) if line.strip()), "")
    possible = [each for each in _DELIMITERS if each != separator]
    for each in possible:
        if any(cell.strip() in expected for cell in next(csv.reader([first], delimiter=each), ())) and each in first:
            return each
    try:
        return csv.Sniffer().sniff(text[:_SNIFFED], delimiters="".join(possible)).delimiter
    except csv.Error:
        return ","


def _rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader, last = csv.reader(_lines(text), delimiter=delimiter, strict=True), 0
    try:
        for cells in reader:
            if cells:
                last = reader.line_num
                yield last, cells
    except csv.Error as error:
        raise DataError(
            f"{path}: line {last + 1}: cannot be read as cells: a quote is not closed, or text stands behind a closed one.",
            'quotes stand around a whole cell; one inside is doubled: "a ""b"" c"',
        ) from error


def _lines(text: str) -> Iterator[str]:
    """Return the lines with their ends, as a file that is opened with newline="" does, without a copy of the text."""
    start = 0
    for end in re.finditer(r"\r\n|\n|\r", text):
        yield text[start : end.end()]
        start = end.end()
    if start < len(text):
        yield text[start:]
