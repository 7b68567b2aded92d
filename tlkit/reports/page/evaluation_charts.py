"""Charts of an evaluation: confusion of classes, reliability, and curves over all thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.record import confusion as confusions
from tlkit.record.calibration import Calibrated
from tlkit.reports.page.charts import COLOURS, Chart, escaped

_NUMBERS = 20  # classes up to which the matrix has its numbers
# On either theme the text of a cell has a contrast of 5.4 and more; of 0.85 it had 4.2, and WCAG asks for 4.5.
_SCALE = [[0, "rgba(0,114,178,0.04)"], [0.02, "rgba(0,114,178,0.18)"], [1, "rgba(0,114,178,0.7)"]]

_AXES = (
    ("roc", "ROC curve", ("false alarms, of the pixels of the other class", "false_positive_rate"), ("recall", "recall")),
    ("precision", "Precision and recall", ("recall", "recall"), ("precision", "precision")),
)


def confusion(evaluation: Mapping[str, Any], place: int, *, name: str) -> Chart:
    """Draw the confusion matrix of an evaluation, its classes in the order of `confusions.order`."""
    names, counts = list(evaluation["per_class"]), np.asarray(evaluation["confusion"])
    order = confusions.order(counts)
    sorted_, labels = counts[np.ix_(order, order)], [escaped(names[each]) for each in order]
    trace: dict[str, Any] = {
        "type": "heatmap", "z": sorted_.tolist(), "x": labels, "y": labels, "colorscale": _SCALE,
        "hovertemplate": "is %{y}, said %{x}: %{z:,}<extra></extra>", "showscale": False,
    }  # fmt: skip
    if len(names) <= _NUMBERS:
        trace["texttemplate"] = "%{z:,}"
    worst = confusions.pairs(counts, most=1)
    most = f" Most often {names[worst[0][0]]} is taken for {names[worst[0][1]]}, {worst[0][2]:,} times." if worst else ""
    layout = {
        "xaxis": {"title": {"text": "predicted"}, "type": "category", "automargin": True, "showgrid": False},
        "yaxis": {
            "title": {"text": "true"},
            "type": "category",
            "automargin": True,
            "autorange": "reversed",
            "showgrid": False,
        },
    }
    what = "pixels" if any("pixels" in each for each in evaluation["per_class"].values()) else "images"
    alt = f"Confusion matrix of {name}, {int(np.trace(counts)):,} of {int(counts.sum()):,} {what} on the diagonal.{most}"
    return Chart(f"confusion-{place}", "Confusion matrix", alt, [trace], layout, height=min(820, 260 + 22 * len(names)))


def calibration(found: Calibrated) -> str:
    """Return the expected calibration error, before and after temperature scaling, in words."""
    text = f"Expected calibration error {found.before.error * 100:.1f} points"
    if found.after is not None and found.temperature is not None:
        text += (
            f"; {found.after.error * 100:.1f} points after the logits are divided by {found.temperature:.2f}, "
            "the temperature that fits the validation images best"
        )
    return f"{text}."


def reliability(found: Calibrated, place: int, *, name: str) -> Chart:
    """Draw how often the network is right over how sure it is."""
    data: list[dict[str, Any]] = [
        {"x": [0, 1], "y": [0, 1], "type": "scatter", "mode": "lines", "name": "as often right as sure", "line": {"dash": "dot", "color": "#8A8A8A"}}
    ]  # fmt: skip
    for when, each, colour in (("before", found.before, COLOURS[1]), ("after temperature scaling", found.after, COLOURS[0])):
        if each is None:
            continue
        full = each.images > 0
        data.append(
            {
                "x": each.confidence[full].round(4).tolist(),
                "y": each.accuracy[full].round(4).tolist(),
                "text": [f"{count} images" for count in each.images[full].tolist()],
                "type": "scatter",
                "mode": "lines+markers",
                "marker": {"size": (5 + 14 * np.sqrt(each.images[full] / each.images.max())).round(1).tolist()},
                "line": {"color": colour},
                "name": when,
            }
        )
    layout = {
        "xaxis": {"title": {"text": "confidence"}, "tickformat": ".0%", "range": [0, 1.02]},
        "yaxis": {"title": {"text": "accuracy"}, "tickformat": ".0%", "range": [0, 1.02]},
    }
    return Chart(f"reliability-{place}", "Reliability", f"Reliability diagram of {name}. {calibration(found)}", data, layout)


def curves(evaluation: Mapping[str, Any], place: int, *, name: str) -> list[Chart]:
    """Draw the ROC curve and precision over recall, where an evaluation has points of them."""
    found = evaluation.get("curves", {})
    if not found:
        return []
    shares = found["probability"]
    marked = {"0.5": 0.5}
    if (own := evaluation.get("threshold")) is not None:
        marked = {"0.5": 0.5, "the best for validation images": own["probability"]}
    places = {words: int(np.abs(np.subtract(shares, value)).argmin()) for words, value in marked.items()}
    charts = []
    for curve, title, (across, x), (up, y) in _AXES:
        told = "; ".join(
            f"at a probability of {shares[at]:.2g}, {words}, {up} {found[y][at]:.1%} and {across} {found[x][at]:.1%}"
            for words, at in places.items()
        )
        data: list[dict[str, Any]] = [
            {
                "x": found[x], "y": found[y], "text": [f"probability {share:.3g}" for share in shares], "type": "scatter",
                "mode": "lines", "name": "threshold", "line": {"color": COLOURS[0]}, "showlegend": False,
            },
            *(
                {
                    "x": [found[x][at]], "y": [found[y][at]], "type": "scatter", "mode": "markers", "name": _marked(words, marked[words]),
                    "marker": {"size": 10, "color": colour},
                }
                for (words, at), colour in zip(places.items(), (COLOURS[6], COLOURS[1]), strict=False)
            ),
        ]  # fmt: skip
        layout = {
            "xaxis": {"title": {"text": across}, "tickformat": ".0%", "range": [0, 1.02]},
            "yaxis": {"title": {"text": up}, "tickformat": ".0%", "range": [0, 1.02]},
        }
        charts.append(Chart(f"{curve}-{place}", title, f"{title} of {name} over all pixels: {told}.", data, layout))
    return charts


def _marked(words: str, threshold: float) -> str:
    return f"threshold {words}" if words == f"{threshold}" else f"threshold {threshold:.2g}, {words}"
