"""Where the verbs write: results to stdout, progress and errors to stderr. Imports rich when it is needed.

The rule: a path is never cut, wrapped, read as markup or obeyed by the terminal, and a stream that is closed or cannot encode a letter is
no error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from tlkit.errors import SOME_FAILED, TlkitError
from tlkit.reports.plain_text import Plain, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tlkit.reports.progress import TerminalObserver

_ENDLESS = 1_000_000  # columns, more than any path has


def show(*tables: RenderableType) -> None:
    """Print tables to stdout; to a file or a pipe without the spaces that fill a short row up to the widest."""
    console = _console()
    for table in tables:
        if console.is_terminal:
            console.print(Plain(table))
            continue
        with console.capture() as captured:
            console.print(Plain(table))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def line(text: str) -> None:
    """Print a line to stdout as it is."""
    _console().print(plain(text), markup=False, highlight=False, soft_wrap=True)


def as_json(record: Any) -> None:
    """Print a record to stdout as JSON."""
    for part in json.JSONEncoder(indent=2).iterencode(record):  # as a whole it takes many times the memory of the record
        sys.stdout.write(part)
    sys.stdout.write("\n")


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(plain(text) + "\n")


def tell_failed(failed: Sequence[TlkitError], *, some_done: bool) -> None:
    """Write what failed to stderr, if anything did, and end the command.

    Args:
        failed: An error for each image or shard without a result.
        some_done: Others have one.

    Raises:
        typer.Exit: something failed.
    """
    for error in failed:
        say(str(error))
    if failed:
        raise typer.Exit(SOME_FAILED if some_done else TlkitError.exit_code)


def observing() -> TerminalObserver:
    """Return what shows the events of a run on stderr, for a `with` statement."""
    from rich.console import Console

    from tlkit.reports.progress import TerminalObserver

    return TerminalObserver(Console(stderr=True))


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr where that is a terminal.

    Args:
        what: Said before the bar.

    Yields:
        A function that moves it, of the number that is done and the number of all.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def open_() -> None:
    """Give a closed stream (`>&-`) a place to go to, and print what cannot be encoded as its number."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # likewise
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _console() -> Console:
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    # Without a terminal there is no width to keep to: a table that is cut would be read wrong by the next program.
    return console if console.is_terminal else Console(width=_ENDLESS, markup=False, emoji=False)
