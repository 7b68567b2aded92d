"""Text as comments of a recipe. Imports no torch."""

from __future__ import annotations

import re
import textwrap

_WIDTH = 122  # characters of a comment line, after "# "


def one_line(text: object) -> str:
    """Return text for a TOML comment, with characters that TOML or UTF-8 forbids escaped."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], str(text))


def of(text: str) -> list[str]:
    """Return a paragraph as comment lines."""
    return [f"# {line}" for line in textwrap.wrap(one_line(text), _WIDTH, break_on_hyphens=False)]
