"""Show progress in a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import rich.progress
from rich.console import Console

from tlkit.engine.images.pictures import Progress
from tlkit.errors import TlkitError
from tlkit.events import Observer
from tlkit.reports.plain_text import plain
from tlkit.reports.progress import TerminalObserver


class Notes(Observer):
    """Prints a line for each thing that a person should know, on stderr, and shows nothing else."""

    def note(self, text: str) -> None:
        """Print it."""
        Console(stderr=True).print(plain(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextmanager
def observer(verbose: int | str) -> Iterator[Observer]:
    """Show a training run for as long as the context lasts, as Keras's `verbose` says.

    Args:
        verbose: 0 shows nothing, 1 or "auto" a bar and a line an epoch, 2 the lines alone.

    Raises:
        TlkitError: it is none of these.
    """
    check(verbose, where="Model.fit")
    if verbose == 0:
        yield Observer()
        return
    console = Console(stderr=True)
    if verbose == 2 or (console.is_jupyter and find_spec("ipywidgets") is None):  # rich draws its bar with ipywidgets
        console = Console(stderr=True, force_terminal=False, force_jupyter=False)
    with TerminalObserver(console) as shown:
        yield shown


@contextmanager
def bar(verbose: int | str, *, where: str) -> Iterator[Progress]:
    """Show a bar of images done for as long as the context lasts; it is gone afterwards.

    Args:
        verbose: 1 or "auto" shows it in a terminal or a notebook, 0 and 2 show nothing.
        where: "Model.predict": begins the message, and what stands before the bar.

    Raises:
        TlkitError: `verbose` is none of these.
    """
    check(verbose, where=where)
    console = Console(stderr=True)
    shown = verbose in (1, "auto") and (console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None))
    with rich.progress.Progress(console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(where.rpartition(".")[2])
        yield lambda done, total: progress.update(task, completed=done, total=total)


def check(verbose: int | str, *, where: str) -> None:
    """Raise TlkitError where `verbose` is not one of Keras's values."""
    if verbose not in (0, 1, 2, "auto"):
        raise TlkitError(f"{where}: verbose is {verbose!r}.", 'one of: "auto", 0 (silent), 1 (a bar), 2 (a line an epoch)')
