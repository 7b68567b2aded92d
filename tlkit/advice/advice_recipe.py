"""Write the recipe that advice comes to: tables as TOML, and the reasons as comments. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.advice import comment_lines
from tlkit.errors import writable


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
    with writable(path):
        files.replace(path, text(path, tables, header=header, comments=comments))


def text(path: Path, tables: Mapping[str, Any], *, header: Mapping[str, Any], comments: Sequence[str]) -> str:
    """Return what `write` writes."""
    import tomli_w

    name = comment_lines.one_line(shlex.quote(str(path)))
    lines = [f"#   tlkit plan {name}", f"#   tlkit apply {name}", "#"]
    for paragraph in comments:
        lines += comment_lines.of(paragraph)
    written = tomli_w.dumps({**header, **tables})
    return "\n".join(["# What tlkit advise found for these images.", "#", *lines, "# Result: not measured yet.", written])
