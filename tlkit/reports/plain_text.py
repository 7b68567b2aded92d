"""Text of others, such as names of files and classes, made harmless for a terminal.

The rule: whatever a name holds, a terminal shows it and does nothing else: no colours, no moved cursor, no title, no text right to left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

# Control characters but the tab and the end of a line (ECMA-48, C0 and C1), and those of Unicode that change the direction of text.
_CONTROLS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NUMBERS = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}


def plain(text: str) -> str:
    r"""Return a text with its control characters as their numbers: "\x1b[31m" is printed, not obeyed."""
    return text.translate(_NUMBERS)


class Plain:
    """A table whose cells are printed as `plain` returns them; its own colours stay."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for each in console.render(self._shown, options):
            yield each if each.control else Segment(plain(each.text), each.style)
