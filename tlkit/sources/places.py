"""Where a command may look for data and weights: command-line options, never part of a recipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _silent(_: str) -> None: ...


def _unshown(_name: str, _came: int, _whole: int | None) -> bool:
    return False


def _patient() -> None: ...


@dataclass(frozen=True)
class Places:
    """Where this command may look: command-line options, never part of a recipe.

    Attributes:
        recipe: Folder of the recipe, which its relative paths begin at.
        data: --data, or None.
        offline: Downloads are forbidden.
        notify: Told of downloads, one line each.
        show: As `Observer.downloading`: shows how much of a file came, and returns whether it does.
        watch: Called as often as a part of a download comes; may raise a TlkitError to stop it.
        settings: Whether what is asked takes settings of a recipe, which hints then offer.
    """

    recipe: Path = Path()
    data: Path | None = None
    offline: bool = False
    notify: Callable[[str], None] = _silent
    show: Callable[[str, int, int | None], bool] = _unshown
    watch: Callable[[], None] = _patient
    settings: bool = True


def relative(value: str, places: Places) -> Path:
    """Return a path that a recipe names: relative to the recipe's folder, or if it is not there, to the working folder (--set)."""
    path = Path(value)
    with contextlib.suppress(RuntimeError):  # "~somebody" who is not known here
        path = path.expanduser()
    beside = places.recipe / path
    return beside if path.is_absolute() or os.path.exists(beside) or not os.path.exists(path) else path
