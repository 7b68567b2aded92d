"""Where the verbs write: results to stdout, progress and errors to stderr. Imports rich when it is needed.

The rule: a path is never cut, wrapped or read as markup, and a stream that is closed or cannot encode a letter is no error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ENDLESS = 1_000_000  # columns, more than any path has


def show(*tables: RenderableType) -> None:
    """Print tables to stdout."""
    console = _console()
    for table in tables:
        console.print(table)


def line(text: str) -> None:
    """Print a line to stdout as it is."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def as_json(record: Any) -> None:
    """Print a record to stdout as JSON."""
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")


def open_() -> None:
    """Give a closed stream (`>&-`) a place to go to, and print what cannot be encoded as its number."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # likewise
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _console() -> Console:
    from rich.console import Console

    console = Console()
    # Without a terminal there is no width to keep to: a table that is cut would be read wrong by the next program.
    return console if console.is_terminal else Console(width=_ENDLESS)
