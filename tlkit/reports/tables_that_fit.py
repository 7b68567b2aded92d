"""Rows of many columns as one table, or as several below each other where a terminal is narrower. Nothing here prints.

The rule: no cell and no heading of a column is cut. Columns stand closer before a table is divided. Each part of it begins with the first
column, so that its rows can be told apart, and all but the first leave out rows that say nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tlkit.reports import plain_table

STYLE = "style"
_ENDLESS = 10_000  # columns, more than a table has
_NAME = 24  # characters of a line of the first column, where it is folded


@dataclass(frozen=True)
class Rows:
    """Rows of cells.

    Attributes:
        rows: The cells by column; beside them `STYLE`, where a row has one of rich's.
        columns: In their order in one table; the first one names a row.
        left: Those of text; numbers stand at the right.
        heads: Of columns whose head is not their name.
        later: Columns that stand in further tables where one is too wide: group by group, until the others fit in the first.
    """

    rows: Sequence[Mapping[str, str]]
    columns: Sequence[str]
    left: Sequence[str]
    heads: Mapping[str, str]
    later: Sequence[Sequence[str]] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def width(table: Table) -> int:
            return console.measure(table, options=options.update(width=_ENDLESS)).maximum

        for whole in (self._table(self.columns), self._table(self.columns, gap=1)):
            if width(whole) <= options.max_width:
                yield whole
                return
        name, *others = self.columns
        named = width(self._table([name]))
        at_most = options.max_width + named - min(named, _NAME)  # the first column gives way

        def fits(columns: Sequence[str]) -> bool:
            return width(self._table([name, *columns])) <= at_most

        first, moved = others, list[str]()
        for group in self.later:
            if fits(first):
                break
            moved += [each for each in first if each in group]
            first = [each for each in first if each not in group]
        first, *rest = _packed(first, fits)
        yield self._table([name, *first], wraps=not fits(first))
        for columns in _packed([*chain.from_iterable(rest), *moved], fits):
            telling = replace(self, rows=[row for row in self.rows if any(row[each] for each in columns)])
            yield telling._table([name, *columns], wraps=not fits(columns))

    def _table(self, columns: Sequence[str], *, wraps: bool = False, gap: int = 2) -> Table:
        """Return one table; one that is too wide with a single column folds that too."""
        table = plain_table.of(gap=gap)
        for place, name in enumerate(columns):
            widest = max((len(row[name]) for row in self.rows), default=0)
            table.add_column(
                self.heads.get(name, name),
                justify="left" if name in self.left else "right",
                no_wrap=place > 0 and not wraps,
                overflow="fold",
                min_width=None if place or wraps else min(widest, _NAME),
            )
        for row in self.rows:
            table.add_row(*(Text(row[name]) for name in columns), style=row.get(STYLE))
        return table


def _packed(columns: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> Iterator[list[str]]:
    """Yield columns in groups that fit, each as large as it can be; a column that does not fit has a group of its own."""
    group: list[str] = []
    for name in columns:
        if group and not fits([*group, name]):
            yield group
            group = []
        group.append(name)
    if group:
        yield group
