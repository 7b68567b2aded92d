"""Source and target of runs with [adapt]: how far apart they are at each stage, a map of both, and which epoch each score would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.plans import even_sample
from tlkit.record import domains, evaluations
from tlkit.reports.page import image_map
from tlkit.reports.page.charts import COLOURS, Chart, escaped, rounded
from tlkit.reports.page.runs import ShownArm, ShownRun

_DISTANCES = {"proxy_a": "proxy A-distance", "mmd": "MMD", "covariance": "covariances"}
_POINTS = 2000  # of a page
_LISTED = 300  # classes in the table
_CLASSES = 10  # up to which the legend has its entry for each in each domain
_BY = {"validation": "validation images of the source", domains.ORACLE: "oracle: accuracy on the target"}


@dataclass(frozen=True)
class ShownDomains:
    """The domains of one arm.

    Attributes:
        arm: Its name.
        head: Which images these are.
        columns: Of the table of stages.
        stages: Its rows: stage, and each distance before and after training.
        classes: Class, and the part of its images that is recognised in the source and in the target; the widest loss first.
        most: Which stage tells the domains apart best.
        choices: What chooses, the epoch, and the accuracy on the target then; none for a run of one epoch.
        notes: What is missing.
        chart: The map; None where the run has none.
    """

    arm: str
    head: str
    columns: Sequence[str]
    stages: Sequence[tuple[str, ...]]
    classes: Sequence[tuple[str, str, str]]
    most: str
    choices: Sequence[tuple[str, ...]]
    notes: Sequence[str]
    chart: Chart | None


def shown(arms: Sequence[ShownArm]) -> list[ShownDomains]:
    """Return the domains of the first run of each arm with [adapt]."""
    mine = [arm for arm in arms if arm.first.data.about.get("domains")]
    return [_shown(arm, place, points=_POINTS // len(mine)) for place, arm in enumerate(mine)]


def _shown(arm: ShownArm, place: int, *, points: int) -> ShownDomains:
    about = arm.first.data.about["domains"]
    images, target = about["images"], about["target"]
    choices, notes = _choices(arm.first, target)
    return ShownDomains(
        arm.name,
        f"{images['source']} {about['source']} images of the source and {images['target']} tested images of {target}.",
        [f"{words}, {when}" for words in _DISTANCES.values() for when in ("before", "after")],
        [(stage, *_cells(each)) for stage, each in about["stages"].items()],
        _classes(arm.first, target),
        _most(about["stages"]),
        choices,
        [*about["notes"], *notes],
        _map(arm, place, about, points),
    )


def _cells(stage: Mapping[str, Mapping[str, float] | None]) -> list[str]:
    found = [stage[when] for _ in _DISTANCES for when in ("before", "after")]
    names = [name for name in _DISTANCES for _ in range(2)]
    return ["" if each is None else f"{each[name]:.3g}" for name, each in zip(names, found, strict=True)]


def _most(stages: Mapping[str, Mapping[str, Mapping[str, float] | None]]) -> str:
    """Say which stages tell the domains apart best after training; "" where that is not known."""
    known = {stage: each["after"]["proxy_a"] for stage, each in stages.items() if each["after"] is not None}
    if not known:
        return ""
    most = max(known.values())
    names = ", ".join(stage for stage, value in known.items() if value == most)
    return f"After training a linear classifier tells the domains apart best in {names}: proxy A-distance {most:.2f} of 2."


def _classes(run: ShownRun, target: str) -> list[tuple[str, str, str]]:
    """Return the recall of each class in both domains, those first that lose most; some of them where there are many."""
    theirs = evaluations.load(run.folder, f"also.{target}").get("per_class", {})
    mine = run.evaluation.get("per_class", {})
    found = [(name, mine.get(name, {}).get("recall"), each.get("recall")) for name, each in theirs.items()]
    found.sort(key=lambda row: (row[2] or 0.0) - (row[1] or 0.0))
    return [(name, *("" if part is None else f"{part:.1%}" for part in parts)) for name, *parts in found[:_LISTED]]


def _choices(run: ShownRun, target: str) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return which epoch each score would have chosen, and why the oracle is missing."""
    if len(run.metrics) < 2:
        return [], []
    found = domains.epoch_choices(run.metrics, target, select_by=run.result.select_by)
    chose = run.result.select_by if run.result.select_by in {each.by for each in found} else "validation"
    rows: list[tuple[str, ...]] = [
        (
            _BY.get(each.by, f"{each.by} of the target, without labels") + (" (chose)" if each.by == chose else ""),
            str(each.epoch),
            "" if each.accuracy is None else f"{each.accuracy:.1%}",
        )
        for each in found
    ]
    if any(each.by == domains.ORACLE for each in found):
        return rows, []
    return rows, ["The target was evaluated once, for the best epoch, so what an oracle would choose is not known."]


def _map(arm: ShownArm, place: int, about: Mapping[str, Any], points: int) -> Chart | None:
    """Draw both domains by their features: circles of the source, open diamonds of the target, a colour a class."""
    if "map" not in about:
        return None
    places, labels = arm.first.data.arrays["domain_points"], np.array(about["map"]["labels"])
    of_target = np.arange(len(places)) >= about["images"]["source"]
    few = np.isin(np.arange(len(places)), even_sample.positions(len(places), points))
    names, traces = sorted(set(labels.tolist())), []
    for domain, mine, symbol in (("source", ~of_target, "circle"), (about["target"], of_target, "diamond-open")):
        for number, label in enumerate(names):
            rows = few & mine & (labels == label)
            if not rows.any():
                continue
            traces.append(
                {
                    "x": [rounded(x) for x in places[rows, 0].tolist()],
                    "y": [rounded(y) for y in places[rows, 1].tolist()],
                    "type": "scatter",
                    "mode": "markers",
                    "name": escaped(f"{label}, {domain}" if label else domain),
                    "hovertemplate": "%{fullData.name}<extra></extra>",
                    "marker": {"size": 7, "color": COLOURS[number % len(COLOURS)], "symbol": symbol},
                }
            )
    across, up = image_map.axes({"method": "PCA", **about["map"]})
    layout = {
        "xaxis": {"title": {"text": across}, "zeroline": False},
        "yaxis": {"title": {"text": up}, "zeroline": False},
        "hovermode": "closest",
        "showlegend": len(names) <= _CLASSES,
    }
    alt = (
        f"Map (PCA) of {int(few.sum())} images of both domains by the features of the last stage of {arm.name}: circles are of the "
        f"source, open diamonds of {about['target']}; a colour for each of {len(names)} classes."
    )
    return Chart(f"domains-{place}", "Map of both domains (PCA)", alt, traces, layout, height=460)
