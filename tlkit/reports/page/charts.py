"""Charts as Plotly's JSON, with a text for those who cannot see them. The page's script gives them the colours of its theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Okabe & Ito 2008, "Color universal design": told apart with any colour vision; grey in the place of black, on either theme. Then five of
# Tol's scheme "muted" (2021, "Colour schemes", SRON/EPS/TN/09-002) for recipes of more arms.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A", "#117733", "#882255", "#999933", "#332288", "#CC6677",
)  # fmt: skip
_PLOT = 380  # pixels of a chart with up to `_LEGEND` entries in its legend
_LEGEND = 8
_ENTRY = 9  # pixels of height that another entry takes, at three in a row


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        name: Of its element.
        title: Above it.
        alt: What it shows, in words.
        data: Plotly's traces.
        layout: Plotly's layout.
        axes: Other values of x for each trace, by the label that chooses them; the first is the one of `data`.
        height: Pixels.
    """

    name: str
    title: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    axes: Mapping[str, list[list[float]]] = field(default_factory=dict)
    height: int = _PLOT

    def record(self) -> dict[str, Any]:
        """Return what the page's script draws."""
        return {"name": self.name, "data": self.data, "layout": {"height": self.height, **self.layout}, "axes": dict(self.axes)}


def height(data: Sequence[Mapping[str, Any]]) -> int:
    """Return the pixels of a chart with its legend below, so that the legend of many arms leaves the plot its room."""
    return _PLOT + _ENTRY * max(sum(bool(trace.get("showlegend", True)) for trace in data) - _LEGEND, 0)


def rounded(value: float) -> float:
    """Return a number with five significant digits: a page need not hold more."""
    return float(f"{value:.5g}")


def escaped(text: str) -> str:
    """Return text of others, such as the name of a class, in which Plotly reads no tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
