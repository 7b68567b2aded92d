"""Metrics of boxes, from a row of numbers of each image: its loss, the boxes that it has, and those that were found.

Mean average precision is torchmetrics', computed by faster-coco-eval as COCO does: https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.tasks.box_answers import DETECTIONS, Found

if TYPE_CHECKING:
    from torch import Tensor

SURE = 0.5  # score from which on a detection is drawn, and counts as found for a person
OVERLAP = 0.5  # intersection over union from which on a box is found
_VALUES = 6  # of a box: its sides, and class and score, or class and whether it is ignored


@dataclass(frozen=True)
class Evaluated:
    """What is known of one image.

    Attributes:
        loss: Of the image.
        right: Boxes for which the surest anchor says their class, and all boxes: see `detection.correct`.
        found: The detections.
        there: "boxes" (m, 4), "labels" (m,) and "iscrowd" (m,), 1 for a box that is ignored.
    """

    loss: float
    right: tuple[int, int]
    found: Found
    there: Found


def missing() -> list[TlkitError]:
    """Return what is wrong where mean average precision cannot be computed."""
    if find_spec("faster_coco_eval") is not None:
        return []
    return [
        TlkitError("head.kind: the mean average precision of boxes needs faster-coco-eval.", "pip install 'tlkit[detection]'")
    ]


def row(begin: Tensor, found: Found, there: Tensor) -> Tensor:
    """Return the numbers of one image (length,): how it begins, its detections, `DETECTIONS` with classes of -1 for none, and its boxes.

    Args:
        begin: (3,) its loss, the boxes that are right, and all boxes.
        found: The detections.
        there: (1 + room, 6), see `detection.batch`.
    """
    import torch

    count = len(found["scores"])
    listed = there.new_full((DETECTIONS, _VALUES), -1.0)
    listed[:count, :4], listed[:count, 4], listed[:count, 5] = found["boxes"], found["labels"], found["scores"]
    return torch.cat([begin.to(there), listed.flatten(), there.flatten()])


def read(rows: Tensor) -> list[Evaluated]:
    """Return what rows (n, length) say of each image."""
    images = []
    for each in rows.float():
        boxes = each[3:].view(-1, _VALUES)
        found, there = boxes[:DETECTIONS], boxes[DETECTIONS + 1 :]  # the first of an image's boxes is the picture itself
        found, there = found[found[:, 4] >= 0], there[there[:, 4] >= 0]
        images.append(
            Evaluated(
                float(each[0]),
                (int(each[1]), int(each[2])),
                {"boxes": found[:, :4], "labels": found[:, 4].long(), "scores": found[:, 5]},
                {"boxes": there[:, :4], "labels": there[:, 4].long(), "iscrowd": there[:, 5].long()},
            )
        )
    return images


def mean_average_precision(images: Sequence[Evaluated]) -> dict[str, float | None]:
    """Return COCO's mean average precision: "map" over overlaps from 0.5 to 0.95, "map50" and "map75"; None without a box."""
    computed = _computed(images, by_class=False)
    return {name: _defined(computed[key]) for name, key in (("map", "map"), ("map50", "map_50"), ("map75", "map_75"))}


def by_class(images: Sequence[Evaluated], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return name -> the images and boxes that show it, its average precision, and the part of its boxes that are found (recall)."""
    computed = _computed(images, by_class=True)
    classes = computed["classes"].reshape(-1).tolist()
    precisions = dict(zip(classes, computed["map_per_class"].reshape(-1).tolist(), strict=True))
    found = {}
    for number, name in enumerate(names):
        mine = [_found(each, number) for each in images]
        boxes = sum(there for _, there in mine)
        found[name] = {
            "images": sum(there > 0 for _, there in mine),
            "boxes": boxes,
            "average_precision": _defined(precisions.get(number, -1.0)),
            "recall": sum(hits for hits, _ in mine) / boxes if boxes else None,
        }
    return found


def parts_found(images: Sequence[Evaluated]) -> list[float | None]:
    """Return the part of the boxes of each image that are found; None where there is none."""
    pairs = [_found(each) for each in images]
    return [hits / there if there else None for hits, there in pairs]


def accuracy(images: Sequence[Evaluated]) -> float:
    """Return the part of all boxes for which the surest anchor says their class, as training counts it."""
    return sum(each.right[0] for each in images) / max(1, sum(each.right[1] for each in images))


def matches(boxes: Tensor, labels: Tensor, found: Tensor, said: Tensor) -> Tensor:
    """Return which boxes overlap which detections of their class by half (boxes, detections)."""
    from torchvision.ops import box_iou

    near: Tensor = (box_iou(boxes, found) >= OVERLAP) & (labels[:, None] == said)
    return near


def _found(image: Evaluated, label: int | None = None) -> tuple[int, int]:
    """Return how many boxes of a class, or of all, overlap a sure detection of their class by half, and how many there are."""
    counted = image.there["iscrowd"] == 0
    if label is not None:
        counted = counted & (image.there["labels"] == label)
    boxes, labels = image.there["boxes"][counted], image.there["labels"][counted]
    sure = image.found["scores"] >= SURE
    return int(matches(boxes, labels, image.found["boxes"][sure], image.found["labels"][sure]).any(1).sum()), len(labels)


def _computed(images: Sequence[Evaluated], *, by_class: bool) -> Mapping[str, Any]:
    from torchmetrics.detection import MeanAveragePrecision

    # COCO's thresholds in float64: torchmetrics' own are rounded to float32, and a recall of exactly 0.1 then falls to the next one.
    overlaps, recalls = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0, 1, 101).tolist()
    # Each of several processes has the rows of all images, and the first one asks for more than the others: it must not wait for them.
    metric = MeanAveragePrecision(
        backend="faster_coco_eval",
        class_metrics=by_class,
        iou_thresholds=overlaps,
        rec_thresholds=recalls,
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    metric.update([each.found for each in images], [each.there for each in images])
    computed: Mapping[str, Any] = metric.compute()
    return computed


def _defined(value: Any) -> float | None:
    """Return a number; None for -1, which COCO gives where there is no box."""
    return None if float(value) < 0 else float(value)
