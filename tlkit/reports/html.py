"""Tables as HTML, for notebooks."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

_WIDTH = 120  # characters


def html(shown: RenderableType) -> str:
    """Return what a terminal would show as HTML."""
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False)
    console.print(shown)
    frame = '<pre style="font-family:monospace;line-height:normal;white-space:pre">{code}</pre>'
    return console.export_html(inline_styles=True, code_format=frame)
