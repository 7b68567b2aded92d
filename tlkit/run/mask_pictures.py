"""The pictures of a report on masks: those that the network is worst and best at, with what it missed and what it made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine.evaluate import evaluating
from tlkit.engine.images import thumbnails
from tlkit.engine.images.parts import Part
from tlkit.network.network import Network
from tlkit.plugin import IGNORED
from tlkit.record.report_data import ReportData

_SHOWN = 6  # worst pictures, and best
_SIDE = 240  # pixels of a picture's longer side
_OPAQUE = 0.6  # of a colour over a picture
_HIT, _MISSED, _MADE_UP = (0, 158, 115), (213, 50, 40), (0, 114, 178)


def of(network: Network, part: Part, quality: Sequence[float | None], measure: str, *, device: torch.device) -> ReportData:
    """Return the pictures as report.npz has them.

    Args:
        network: It is run on them again.
        part: The images, with their masks.
        quality: How good the mask of each image is; None where that is not defined.
        measure: What that is called.
        device: The device that the network is on.
    """
    known = [row for row, value in enumerate(quality) if value is not None]
    order = sorted(known, key=lambda row: quality[row] or 0.0)
    worst = order[: min(_SHOWN, (len(order) + 1) // 2)]
    best = order[len(worst) :][::-1][:_SHOWN]
    rows = [(row, "worst") for row in worst] + [(row, "best") for row in best]
    images = [_drawn(network, part, row, device) for row, _ in rows]
    about = []
    for row, kind in rows:
        said = f"{measure} {quality[row]:.3f}"
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


def _drawn(network: Network, part: Part, row: int, device: torch.device) -> NDArray[np.uint8]:
    """Return a picture (h, w, 3) with its hits, misses and false alarms of every class but the first."""
    chosen = part.indices[row : row + 1]
    with evaluating(network), torch.inference_mode():
        picked = network(part.inputs(chosen, 0, device).contiguous()).argmax(1)[0].cpu().numpy()
    truth = part.targets(chosen, 0, torch.device("cpu"))[0].numpy()
    made = Image.fromarray(marked(thumbnails.pictures(part, np.array([row]))[0], truth, picked))
    made.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(made)
