"""The pictures of a report on masks or boxes: those that the network is worst and best at, with what it missed and what it made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine import tiles
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images import thumbnails
from tlkit.engine.images.parts import Part
from tlkit.network.network import Network
from tlkit.plugin import IGNORED
from tlkit.record.report_data import ReportData
from tlkit.tasks import Predictions, mask_rows

_SHOWN = 6  # worst pictures, and best
_SIDE = 240  # pixels of a picture's longer side
_OPAQUE = 0.6  # of a colour over a picture
_HIT, _MISSED, _MADE_UP = (0, 158, 115), (213, 50, 40), (0, 114, 178)


def of(part: Part, quality: Sequence[float | None], measure: str, *, draw: Callable[[int], NDArray[np.uint8]]) -> ReportData:
    """Return the pictures as report.npz has them.

    Args:
        part: The images.
        quality: How good the answer for each image is; None where that is not defined.
        measure: How it is told: "Dice {:.3f}".
        draw: (row) -> the picture (h, w, 3) of a row of the part.
    """
    known = [row for row, value in enumerate(quality) if value is not None]
    order = sorted(known, key=lambda row: quality[row] or 0.0)
    worst = order[: min(_SHOWN, (len(order) + 1) // 2)]
    best = order[len(worst) :][::-1][:_SHOWN]
    rows = [(row, "worst") for row in worst] + [(row, "best") for row in best]
    images = [_small(draw(row)) for row, _ in rows]
    about = []
    for row, kind in rows:
        said = measure.format(quality[row])
        about.append(
            {"row": row, "position": int(part.indices[row]), "kind": kind, "label": said, "said": said, "probability": None}
        )
    return ReportData({"images": about, "notes": []}, {"images": np.stack(images)} if images else {})


def marked(picture: NDArray[np.uint8], truth: NDArray[Any], picked: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (h, w, 3) in grey, with hits in green, missed pixels in red and false alarms in blue.

    In grey, because red on a retina would not be seen.

    Args:
        picture: (h, w, 3).
        truth: (h, w), the class of each pixel; `IGNORED` where none is known.
        picked: (h, w), the class that the network gives each pixel.
    """
    counts = truth != IGNORED
    grey = Image.fromarray(picture).convert("L").convert("RGB")
    shown = np.array(grey, np.float32)
    colours: list[tuple[NDArray[Any], tuple[int, int, int]]] = [
        (counts & (truth > 0) & (picked == truth), _HIT),
        (counts & (truth > 0) & (picked != truth), _MISSED),
        (counts & (truth == 0) & (picked > 0), _MADE_UP),
    ]
    for where, colour in colours:
        shown[where] = (1 - _OPAQUE) * shown[where] + _OPAQUE * np.array(colour, np.float32)
    return shown.round().astype(np.uint8)


def drawn(
    network: Network, part: Part, predicted: Predictions, row: int, *, device: torch.device, tile: int | None = None
) -> NDArray[np.uint8]:
    """Return a picture (h, w, 3) with its hits, misses and false alarms of every class but the first.

    Args:
        network: Run on the picture again, where its mask was not kept.
        part: The images.
        predicted: The predictions for them.
        row: Which of them.
        device: The device that the network is on.
        tile: Side of the tiles in which a larger picture passes the network; None for whole pictures.
    """
    chosen = part.indices[row : row + 1]
    if predicted.masks is not None:
        picked = predicted.masks[row]
    else:
        with evaluating(network), torch.inference_mode():
            x = part.inputs(chosen, 0, device).contiguous()
            found = tiles.logits(network.task, network, x, tile=max(x.shape[2:]) if tile is None else tile)
            picked = mask_rows.best(found)[0].cpu()
    truth = part.targets(chosen, 0, torch.device("cpu"))[0].numpy()
    return marked(thumbnails.pictures(part, np.array([row]))[0], truth, picked.numpy())


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made = Image.fromarray(picture)
    made.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(made)
