"""Find a file whose name differs from the one that is asked for in capitals, blanks or the form of letters alone. Imports no torch."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def spelt_otherwise(path: Path) -> str:
    """Return a hint on a file that is not there: the name that is nearly the same in its folder; "" where there is none.

    Names from macOS have letters with marks in two characters (NFD), those that are typed in one (NFC): they look the same.
    """
    wanted = _folded(path.name)
    try:
        with os.scandir(path.parent) as entries:
            found = next((each.name for each in entries if each.name != path.name and _folded(each.name) == wanted), None)
    except (OSError, ValueError):  # no folder, or a name that no file can have
        return ""
    if found is None:
        return ""
    same = unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", path.name)
    how = "whose name has the same letters in another form of Unicode, as macOS writes them" if same else "spelt otherwise"
    return f'there is "{found}" in that folder, {how}'


def _folded(name: str) -> str:
    return "".join(unicodedata.normalize("NFC", name).casefold().split())
