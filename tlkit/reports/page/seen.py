"""What the network sees: images, classes, confusion, calibration, a map, and what excites its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkit import tasks
from tlkit.record import confusion as confusions
from tlkit.record import selection
from tlkit.record.calibration import Calibrated
from tlkit.record.report_data import ReportData
from tlkit.reports.page import evaluation_charts, image_map, pictures
from tlkit.reports.page.charts import Chart
from tlkit.reports.page.runs import ShownArm

_MATRIX = 200  # classes; of more the most confused pairs are listed, and one arm's matrix is a picture
_PAIRS = 100
_THUMBNAILS, _POINTS = 400, 2000  # of a page
_IMAGES, _OF_DATA = 168, 72  # of the thumbnails: images of "What the network sees", and of "The data"; the others are on maps
_MASKS = 6  # pictures with masks of each kind
_DRAWN = ("worst", "best")  # kinds of pictures with masks or boxes on them
_MEASURES = ("f1", "dice", "average_precision")  # of a class; a task has one of them
_LISTED = 300  # classes in the table; of more the worst


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        source: A data URI.
        alt: What it shows, in words.
        caption: Below it.
        heat: The same under a map of where the network looks.
        kind: How large it is shown: "drawn" with masks or boxes on it, "said" with a caption of several labels; "" for a small one.
    """

    source: str
    alt: str
    caption: str = ""
    heat: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Evaluated:
    """A network and its answers for labelled images.

    Attributes:
        name: Of the arm or the run.
        split: The images.
        evaluation: What happened to every class, as evaluation.json has it.
        calibrated: How well its probabilities fit; None where an image has several labels.
        data: Images, maps and patches.
    """

    name: str
    split: str
    evaluation: Mapping[str, Any]
    calibrated: Calibrated | None
    data: ReportData


@dataclass(frozen=True)
class Seen:
    """What one network sees.

    Attributes:
        arm: Name of the arm or the run.
        split: The images that are shown.
        groups: Title -> images.
        classes: Rows of the table of classes: name, images, precision and recall where they are known, and the measure.
        columns: Of the table of classes; the last is F1, Dice or average precision.
        charts: Confusion, reliability, map.
        pairs: The most confused pairs, in words.
        matrix: The whole confusion matrix as a picture, where there are too many classes for a chart.
        excited: Stage -> a sheet of patches.
        calibration: In words.
        notes: What is missing, or shown in another way.
    """

    arm: str
    split: str
    groups: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    classes: Sequence[tuple[str, ...]] = ()
    columns: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    pairs: Sequence[str] = ()
    matrix: Picture | None = None
    excited: Sequence[Picture] = ()
    calibration: str = ""
    notes: Sequence[str] = ()

    @property
    def has_any(self) -> bool:
        """Whether there is something to show."""
        return any((self.groups, self.classes, self.charts, self.pairs, self.matrix, self.excited, self.notes))


_TITLES = {
    "wrong": "Most wrong: what it thought, and what it is",
    "sure": "Right, and most confident",
    "unsure": "Right, and least confident",
    "worst": "Worst pictures: hits green, misses red, false alarms blue",
    "best": "Best pictures: hits green, misses red, false alarms blue",
}


def of(arm: ShownArm) -> Evaluated:
    """Return the network of an arm's first run with its answers for the held-out images."""
    run = arm.first
    return Evaluated(arm.name, run.split, run.evaluation, run.calibrated, run.data)


def seen(shown: Sequence[Evaluated]) -> list[Seen]:
    """Return what each network sees, within the limits of a page."""
    found = []
    for place, one in enumerate(shown):
        names = list(one.evaluation.get("per_class", {}))
        charts: list[Chart] = []
        confused: Sequence[confusions.Pair] = one.evaluation.get("confused", ())
        matrix = None
        table = one.evaluation.get("confusion")
        if table is not None and np.ndim(table) == 2:
            counts = np.asarray(table)
            confused = confusions.pairs(counts, most=_PAIRS if len(names) > _MATRIX else 10)
            if len(names) <= _MATRIX:
                charts.append(evaluation_charts.confusion(one.evaluation, place, name=one.name))
            elif place == 0:
                matrix = _matrix_picture(one.name, counts)
        if one.calibrated is not None:
            charts.append(evaluation_charts.reliability(one.calibrated, place, name=one.name))
        charts += evaluation_charts.curves(one.evaluation, place, name=one.name)
        thumbnails = (_THUMBNAILS - _IMAGES - _OF_DATA) // len(shown)
        of_images = image_map.chart(
            one.data, place, name=one.name, split=one.split, points=_POINTS // len(shown), thumbnails=thumbnails
        )
        if of_images is not None:
            charts.append(of_images)
        found.append(
            Seen(
                one.name,
                one.split,
                _groups(one, most=_IMAGES // len(shown)),
                *_classes(one.evaluation),
                charts,
                _pairs(one.evaluation, confused),
                matrix,
                _excited(one),
                "" if one.calibrated is None else evaluation_charts.calibration(one.calibrated),
                tuple(one.data.about.get("notes", ())),
            )
        )
    return found


def _pairs(evaluation: Mapping[str, Any], confused: Sequence[confusions.Pair]) -> list[str]:
    """Return pairs of classes in words."""
    names = list(evaluation.get("per_class", {}))
    unit = " pixels" if any("pixels" in each for each in evaluation.get("per_class", {}).values()) else ""
    return [f"{names[true]} taken for {names[said]}: {count:,}{unit}" for true, said, count in confused]


def _groups(one: Evaluated, *, most: int) -> dict[str, list[Picture]]:
    data = one.data
    found: dict[str, list[Picture]] = {}
    heats = data.arrays.get("grad_cam")
    shares = {"wrong": max(most * 3 // 5, 1), "sure": max(most // 5, 1), "unsure": max(most // 5, 1)}
    shares |= {"worst": _MASKS, "best": _MASKS}
    for place, each in enumerate(data.about.get("images", ())):
        mine = found.setdefault(_TITLES[each["kind"]], [])
        if len(mine) >= shares[each["kind"]]:
            continue
        image = data.arrays["images"][place]
        sure = "" if each["probability"] is None else f" {each['probability']:.0%}"
        kind = "drawn" if each["kind"] in _DRAWN else "" if sure else "said"
        sign = "; is" if kind == "said" else ", is"  # several labels have commas between them
        caption = f"{each['said']}{sure}" + (f"{sign} {each['label']}" if each["said"] != each["label"] else "")
        alt = f"{one.split} image {each['position']}: the network says {caption}"
        heat = ""
        if each["kind"] == "wrong" and heats is not None and place < len(heats):
            heat = pictures.jpeg(pictures.heated(image, heats[place]))
        mine.append(Picture(pictures.jpeg(image), alt, caption, heat, kind))
    return {title: each for title, each in found.items() if each}


def _classes(evaluation: Mapping[str, Any]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return the rows of the table of classes, and the heads of its columns: those that some class has."""
    rows = list(evaluation.get("per_class", {}).items())
    key = next((key for key in _MEASURES if any(key in each for _, each in rows)), "f1")
    if len(rows) > _LISTED:
        rows = sorted(rows, key=lambda row: row[1].get(key) or 0.0)[:_LISTED]
    heads = [column for column in ("precision", "recall", key) if any(each.get(column) is not None for _, each in rows)]
    cells = [(name, f"{each['images']:,}", *(_text(each.get(column), column) for column in heads)) for name, each in rows]
    return cells, ("class", "images", *map(tasks.metric_label, heads))


def _text(value: float | None, column: str) -> str:
    """Return precision or recall in percent, and a measure as everywhere else."""
    if value is None:
        return ""
    return selection.value({column: value}, column) if column in _MEASURES else f"{value:.1%}"


def _matrix_picture(arm: str, counts: np.ndarray[Any, Any]) -> Picture:
    """Draw a matrix of many classes as grey values, a pixel a pair."""
    order = confusions.order(counts)
    shares = counts[np.ix_(order, order)] / np.maximum(counts.sum(1)[order], 1)[:, None]
    grey = (255 * (1 - np.sqrt(shares))).round().astype(np.uint8)
    alt = f"Confusion matrix of {arm} with {len(counts)} classes: a row for each true class, dark where it is predicted often"
    return Picture(pictures.png(grey), alt, "rows: true class, columns: predicted class; the darker, the more often")


def _excited(one: Evaluated) -> list[Picture]:
    data = one.data
    sheets: dict[str, list[int]] = {}
    for place, each in enumerate(data.about.get("excited", ())):
        sheets.setdefault(each["stage"], []).append(place)
    found = []
    for stage, places in sheets.items():
        patches = data.arrays["patches"][places]  # (channels, 9, h, w, 3)
        channels = ", ".join(str(data.about["excited"][place]["channel"]) for place in places)
        part = data.about["excited"][places[0]]["part"]
        sheet = pictures.sheet(patches.reshape(-1, *patches.shape[2:]), columns=patches.shape[1])
        caption = f"{stage}: channels {channels}; a patch is about {part:.0%} of the picture's side"
        found.append(
            Picture(pictures.jpeg(sheet), f"The nine patches that excite channels {channels} of {stage} most", caption)
        )
    return found
