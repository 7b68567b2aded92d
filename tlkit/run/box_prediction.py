"""The objects that a finished run's network finds in pictures of any size, as COCO lists results, and pictures with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tlkit import files
from tlkit.engine.evaluate import evaluating
from tlkit.errors import writable
from tlkit.network.network import Network
from tlkit.run import box_pictures, mask_prediction
from tlkit.run.whole_pictures import WholePicture
from tlkit.units import Size


@dataclass(frozen=True)
class Answer:
    """What a network finds in one picture.

    Attributes:
        boxes: (d, 4) left, top, right, bottom in pixels of the picture, the surest first.
        scores: (d,) from 0 to 1.
        labels: (d,) the number of the class.
        size: Height and width of the picture.
        picture: (H, W, 3) uint8; None of bands.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    size: Size
    picture: NDArray[np.uint8] | None

    def counted(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """Return the classes that were found with the number of their objects, the commonest first."""
        count = np.bincount(self.labels, minlength=len(names))
        return sorted(((name, int(each)) for name, each in zip(names, count, strict=True) if each), key=lambda pair: -pair[1])

    def results(self, image: int) -> list[dict[str, Any]]:
        """Return the objects as COCO's results have them; categories are numbered from 1, in the order of the classes."""
        return [
            {
                "image_id": image,
                "category_id": 1 + label,
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
                "score": round(score, 5),
            }
            for (left, top, right, bottom), score, label in zip(
                self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True
            )
        ]


def answer(network: Network, whole: WholePicture, *, least: float) -> Answer:
    """Return what is found in a picture with at least a score.

    Args:
        network: The run's, whose task finds objects.
        whole: The picture.
        least: Score of what is told.
    """
    detections = network.task.detections
    assert detections is not None  # its task finds objects
    with evaluating(network), torch.inference_mode():
        (found,) = detections(network(whole.x).float(), [whole.small])
    sure = found["scores"] >= least
    boxes, scores, labels = (found[name][sure].cpu().double().numpy() for name in ("boxes", "scores", "labels"))
    factors = np.array([whole.size[1] / whole.small[1], whole.size[0] / whole.small[0]] * 2)
    return Answer(boxes * factors, scores, labels.astype(np.int64), whole.size, whole.picture)


def write(found: Answer, names: Sequence[str], folder: Path, name: str, *, least: float) -> str | None:
    """Write a picture with its boxes of at least a score as NAME.png, and return the file's path; None where the picture has no colours.

    Raises:
        TlkitError: it cannot be written.
    """
    if found.picture is None:
        return None
    path = folder / f"{name}.png"
    with writable(folder, "another folder"):
        files.make_folder(folder)
        with files.replacing(path) as file:
            Image.fromarray(drawn(found, found.picture, names, least=least)).save(
                file, format="PNG", compress_level=mask_prediction.FAST
            )
    return str(path)


def drawn(found: Answer, picture: NDArray[np.uint8], names: Sequence[str], *, least: float) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) with the boxes that were found in it with at least a score."""
    colours = np.array(mask_prediction.palette()).reshape(-1, 3)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    boxes = [
        (sides, tuple(colours[1 + label % 254].tolist()), f"{names[label]} {score:.0%}")
        for sides, score, label in rows
        if score >= least
    ]
    return box_pictures.drawn(picture, boxes)
