"""Show progress in a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console

from tlkit.errors import TlkitError
from tlkit.events import Observer
from tlkit.reports.progress import TerminalObserver


@contextmanager
def observer(verbose: int | str) -> Iterator[Observer]:
    """Show a training run for as long as the context lasts, as Keras's `verbose` says.

    Args:
        verbose: 0 shows nothing, 1 or "auto" a bar and a line an epoch, 2 the lines alone.

    Raises:
        TlkitError: it is none of these.
    """
    if verbose not in (0, 1, 2, "auto"):
        raise TlkitError(f"Model.fit: verbose is {verbose!r}.", 'one of: "auto", 0 (silent), 1 (a bar), 2 (a line an epoch)')
    if verbose == 0:
        yield Observer()
        return
    console = Console(stderr=True)
    if verbose == 2 or (console.is_jupyter and find_spec("ipywidgets") is None):  # rich draws its bar with ipywidgets
        console = Console(stderr=True, force_terminal=False, force_jupyter=False)
    with TerminalObserver(console) as shown:
        yield shown
