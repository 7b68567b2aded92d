"""Tables without lines: the one form that all tables of the command line have. Nothing here prints."""

from __future__ import annotations

from rich.table import Table


def of(*names: str, gap: int = 2, title: str | None = None) -> Table:
    """Return an empty table.

    Args:
        names: Of its columns; others may be added.
        gap: Blanks between two columns.
        title: Above it.
    """
    return Table(*names, box=None, pad_edge=False, padding=(0, gap, 0, 0), title=title, title_justify="left")
