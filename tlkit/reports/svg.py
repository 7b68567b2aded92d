"""Write Matplotlib figures as SVG: the same figure gives the same text each time, and its words stay text."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color universal design": told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def text(figure: Figure) -> str:
    """Return a figure as the text of an .svg file."""
    with matplotlib.rc_context({"svg.hashsalt": "tlkit", "svg.fonttype": "none"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
