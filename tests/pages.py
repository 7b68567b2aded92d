"""The pages of the documentation as data: README.md and docs/*.md, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

_BLOCK = re.compile(r"(?:<!-- (?P<marker>[^\n]+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the fence: console, text, toml, python, json.
        text: Between the fences.
        marker: The comment on the line before, or "".
    """

    language: str
    text: str
    marker: str


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @property
    def blocks(self) -> list[Block]:
        """Its blocks of code, in order."""
        return [Block(found["language"], found["text"], found["marker"] or "") for found in _BLOCK.finditer(self.text)]

    @property
    def commands(self) -> list[str]:
        """What a reader types."""
        return [line[2:] for block in self.blocks if block.language == "console" for line in block.text.splitlines()]

    def after(self, marker: str) -> str:
        """The block that follows a comment."""
        (found,) = (block.text for block in self.blocks if block.marker == marker)
        return found


README = Page(ROOT / "README.md")
DOCS = [Page(path) for path in sorted((ROOT / "docs").glob("*.md"))]
PAGES = [README, *DOCS]
