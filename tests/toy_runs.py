"""A recipe that is applied once for the tests of a module, which read its runs or copy them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tlkit import api
from tlkit.api import Applied


@contextmanager
def applied(folder: Path, text: str, *settings: str, drawn: bool = False) -> Iterator[Applied]:
    """Write a recipe into a folder and apply it there, as toy.toml into runs; within the block the caches lie there too.

    Args:
        folder: Of the recipe.
        text: The recipe.
        settings: As --set.
        drawn: The page and the curves are drawn, also by what the block applies; a page takes longer than a toy run.
    """
    (folder / "toy.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        if not drawn:
            patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        yield api.apply(folder / "toy.toml", settings, runs=folder / "runs")
