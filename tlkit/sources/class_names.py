"""Find names of classes that are probably one class, written in several ways. Imports no torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tlkit.errors import first_few


def alike(classes: Iterable[str]) -> tuple[str, ...]:
    """Say which classes have names that differ in capitals, blanks or the form of letters alone: "Ants" and "ants", "x²" and "x2".

    Names of one character are passed over: letters are classes, large and small.
    """
    same: dict[str, list[str]] = {}
    for name in classes:
        if len(name) > 1:
            same.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    pairs = [" and ".join(f'"{name}"' for name in names) for names in same.values() if len(names) > 1]
    if not pairs:
        return ()
    said = "names of classes that differ in capitals, blanks or the form of letters alone; if they are one class, rename one"
    return (f"{first_few(pairs)}: {said}",)
