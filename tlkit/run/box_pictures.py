"""Pictures with boxes drawn on them: what was found, and for a report hits, misses and false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tlkit.engine.images import thumbnails
from tlkit.engine.images.parts import Part
from tlkit.tasks import Predictions, box_metrics

HIT, MISSED, MADE_UP = (0, 158, 115), (213, 50, 40), (0, 114, 178)
_WIDTH = 200  # pixels of a picture's longer side for each pixel of a line's width

Drawn = tuple[Sequence[float], tuple[int, int, int], str]  # sides, colour, words


def drawn(picture: NDArray[np.uint8], boxes: Iterable[Drawn]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) with boxes, each with its words in the upper left."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for sides, colour, words in boxes:
        left, top, right, bottom = sides
        corners = left, top, max(left, right - 1), max(top, bottom - 1)
        pen.rectangle(corners, outline=colour, width=1 + max(image.size) // _WIDTH)
        if words:
            place = pen.textbbox((left, top), words)
            pen.rectangle(place, fill=colour)
            pen.text((left, top), words, fill=(255, 255, 255))
    return np.asarray(image)


def judged(part: Part, predicted: Predictions, row: int) -> NDArray[np.uint8]:
    """Return a picture of a part in grey, with the boxes that are found green, those that are missed red, and false alarms blue.

    Boxes that are ignored are not drawn, and what is found there is no false alarm.
    """
    (known,) = box_metrics.read(predicted.logits[row : row + 1])
    sure = known.found["scores"] >= box_metrics.SURE
    found, labels = known.found["boxes"][sure], known.found["labels"][sure]
    near = box_metrics.matches(known.there["boxes"], known.there["labels"], found, labels)  # (there, found)
    boxes: list[Drawn] = [(each, MADE_UP, "") for each in found[~near.any(0)].tolist()]
    counted = known.there["iscrowd"] == 0
    for each, hit in zip(known.there["boxes"][counted].tolist(), near[counted].any(1).tolist(), strict=True):
        boxes.append((each, HIT if hit else MISSED, ""))
    (picture,) = thumbnails.pictures(part, np.array([row]))
    return drawn(np.array(Image.fromarray(picture).convert("L").convert("RGB")), boxes)
