"""The map of a network's images: each where its features place it, with its class, what was said of it, and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.plans import even_sample
from tlkit.record.report_data import ReportData
from tlkit.reports.page import pictures
from tlkit.reports.page.charts import COLOURS, Chart, escaped, rounded


def chart(data: ReportData, place: int, *, name: str, split: str, points: int, thumbnails: int) -> Chart | None:
    """Draw the map of a network's images; None where the run has none.

    Args:
        data: The map and its images.
        place: Of the network on the page.
        name: Of the arm or the run.
        split: The images.
        points: At most.
        thumbnails: At most, which are shown where the pointer is.
    """
    about = data.about.get("map")
    if about is None:
        return None
    places = data.arrays["map_points"]
    shown = even_sample.positions(len(places), points).tolist()
    names = list(dict.fromkeys(about["labels"]))
    pictured = {row: number for number, row in enumerate(about["pictured"][:thumbnails])}
    traces = []
    for number, label in enumerate(sorted(names)):
        mine = [row for row in shown if about["labels"][row] == label]
        mine.sort(key=lambda row: about["said"][row] != label)  # the legend has the first one's symbol
        if not mine:
            continue
        traces.append(
            {
                "x": [rounded(x) for x in places[mine, 0].tolist()],
                "y": [rounded(y) for y in places[mine, 1].tolist()],
                "type": "scatter",
                "mode": "markers",
                "name": escaped(label),
                "text": [escaped(_answer(label, about["said"][row])) for row in mine],
                "customdata": [pictured.get(row, -1) for row in mine],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {
                    "size": 7,
                    "color": COLOURS[number % len(COLOURS)],
                    "symbol": [_symbol(number, right=about["said"][row] == label) for row in mine],
                },
            }
        )
    across, up = axes(about)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": across}, "zeroline": False, "showticklabels": about["method"] != "UMAP"},
        "yaxis": {"title": {"text": up}, "zeroline": False, "showticklabels": about["method"] != "UMAP"},
        "hovermode": "closest",
        "showlegend": len(names) <= 20,
    }
    images = data.arrays["map_images"][: len(pictured)]
    if len(images):
        layout["meta"] = {
            "sheet": pictures.jpeg(pictures.sheet(images, columns=10, gap=0)),
            "columns": 10, "width": images.shape[2], "height": images.shape[1],
        }  # fmt: skip
    alt = (
        f"Map ({about['method']}) of {len(shown)} {split} images by the features that the head of {name} reads, {len(names)} classes; "
        "crosses are images that it gets wrong."
    )
    title = f"Map of the images ({about['method']}); crosses are those that it gets wrong"
    if not layout["showlegend"]:
        title += "; the pointer shows what an image is"
    return Chart(f"map-{place}", title, alt, traces, layout, height=460)


def axes(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the titles of a map's axes. Those of UMAP have no meaning: only who is near whom counts."""
    if about["method"] == "UMAP":
        return "UMAP: images with like features are near each other; distances and directions mean nothing", ""
    first, second = about["explained"]
    return f"first principal component, {first:.0%} of the variance", f"second, {second:.0%}"


def _answer(label: str, said: str) -> str:
    return label if said == label else f"{label}, said {said}"


def _symbol(number: int, *, right: bool) -> str:
    return ("circle", "square", "diamond", "triangle-up")[number // len(COLOURS) % 4] if right else "x"
