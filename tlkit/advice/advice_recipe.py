"""Write the recipe that advice comes to: tables as TOML, and the reasons as comments. Imports no torch."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import TlkitError

_WIDTH = 122  # characters of a comment line, after "# "


def write(path: Path, tables: Mapping[str, Any], *, header: Mapping[str, Any], comments: Sequence[str]) -> None:
    """Write a recipe of one arm.

    Args:
        path: The file; an earlier one is replaced.
        tables: Of the arm.
        header: Keys at its head, `format` and `name` among them.
        comments: Paragraphs that stand before it.

    Raises:
        TlkitError: it cannot be written.
    """
    try:
        files.replace(path, text(path, tables, header=header, comments=comments))
    except OSError as error:
        raise TlkitError(f"{path}: cannot be written: {error.strerror or error}.") from error


def text(path: Path, tables: Mapping[str, Any], *, header: Mapping[str, Any], comments: Sequence[str]) -> str:
    """Return what `write` writes."""
    import tomli_w

    name = _one_line(shlex.quote(str(path)))
    lines = [f"#   tlkit plan {name}", f"#   tlkit apply {name}", "#"]
    for paragraph in comments:
        lines += [f"# {line}" for line in textwrap.wrap(_one_line(paragraph), _WIDTH, break_on_hyphens=False)]
    written = tomli_w.dumps({**header, **tables})
    return "\n".join(["# What tlkit advise found for these images.", "#", *lines, "# Result: not measured yet.", written])


def _one_line(text: object) -> str:
    """Return text for a TOML comment, with characters that TOML or UTF-8 forbids escaped."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], str(text))
