"""The masks that a finished run's network gives for pictures of any size, and the files that hold them."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from tlkit import files
from tlkit.engine import evaluate, tiles
from tlkit.errors import writable
from tlkit.network.network import Network
from tlkit.record import run_folder
from tlkit.run.whole_pictures import WholePicture
from tlkit.tasks import mask_rows

_CPU = torch.device("cpu")
_ON_A_GPU = 1 << 28  # bytes of a picture's probabilities, 256 MB: larger ones are brought to its size on the CPU
FAST = 1  # of the levels of PNG's compression, for what is only looked at: 12 megapixels takes a fifth of the time of 6, and 18 % more bytes
# Colours of classes 1 and on; class 0 is black and is not drawn: Okabe & Ito 2008, jfly.uni-koeln.de/color.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


@dataclass(frozen=True)
class Answer:
    """What a network says of one picture.

    Attributes:
        mask: (H, W) uint8, the class of each pixel; as many pixels as the picture has.
        probabilities: (classes, H, W) float32.
        picture: (H, W, 3) uint8; None of bands.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    picture: NDArray[np.uint8] | None

    def shares(self, names: tuple[str, ...]) -> list[tuple[str, float]]:
        """Return the part of the pixels that each class has, the largest first."""
        count = np.bincount(self.mask.ravel(), minlength=len(names)) / self.mask.size
        return sorted(zip(names, count.tolist(), strict=True), key=lambda pair: -pair[1])


def answer(network: Network, placed: WholePicture, *, threshold: float | None = None, tile: int | None = None) -> Answer:
    """Return the mask of a picture, whose probabilities are brought back to its size.

    Args:
        network: The run's.
        placed: The picture on its canvas.
        threshold: Probability from which on a pixel is of the second of two classes; None for 0.5.
        tile: Side of the tiles in which a larger picture passes the network, in whole strides; None for whole pictures.
    """
    most, place = (max(placed.x.shape[2:]), placed.x.device) if tile is None else (tile, _CPU)
    shares = partial(evaluate.probabilities, network)
    found = tiles.blended(shares, placed.x, tile=most, overlap=int(most * tiles.OVERLAP), place=place)
    found = found[:, :, : placed.small[0], : placed.small[1]]
    if found.element_size() * found.shape[1] * math.prod(placed.size) > _ON_A_GPU:
        found = found.cpu()
    whole = functional.interpolate(found, size=placed.size, mode="bilinear", align_corners=False)
    mask = mask_rows.best(whole)[0] if threshold is None or whole.shape[1] != 2 else whole[0, 1] >= threshold
    return Answer(mask.to(torch.uint8).cpu().numpy(), whole[0].cpu().numpy(), placed.picture)


def chosen_threshold(folder: Path) -> float | None:
    """Return the threshold that was the best for a run's validation images; None where there was none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads((folder / run_folder.EVALUATION).read_text())["validation"]["threshold"]["probability"])
    return None


def write(found: Answer, folder: Path, name: str, *, probabilities: bool) -> dict[str, str]:
    """Write a picture's mask as an image of class numbers, the picture under it, and if asked for its probabilities.

    Args:
        found: The answer.
        folder: Where to; it is made.
        name: What the files begin with.
        probabilities: Also write NAME.npz with `probabilities` (classes, H, W) float16.

    Returns:
        The files: "mask", "overlay" where the picture has colours, and "probabilities".

    Raises:
        TlkitError: they cannot be written.
    """
    paths = {"mask": folder / f"{name}.png"}
    with writable(folder, "another folder"):
        files.make_folder(folder)
        image = Image.fromarray(found.mask)
        image.putpalette(palette())
        with files.replacing(paths["mask"]) as file:
            image.save(file, format="PNG")
        if found.picture is not None:
            paths["overlay"] = folder / f"{name}-overlay.png"
            with files.replacing(paths["overlay"]) as file:
                Image.fromarray(overlay(found.picture, found.mask)).save(file, format="PNG", compress_level=FAST)
        if probabilities:
            paths["probabilities"] = folder / f"{name}.npz"
            with files.replacing(paths["probabilities"]) as file:
                np.savez_compressed(file, probabilities=found.probabilities.astype(np.float16))
    return {kind: str(path) for kind, path in paths.items()}


def palette() -> list[int]:
    """Return the colours of 256 class numbers, red, green and blue each; 0 is black and 255 white."""
    colours = [(0, 0, 0), *(_COLOURS[number % len(_COLOURS)] for number in range(254)), (255, 255, 255)]
    return [value for colour in colours for value in colour]


def overlay(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) in which the pixels of every class but the first have half the class's colour."""
    both = np.array(palette(), np.uint16).reshape(256, 3)[mask] + picture
    half = both >> 1
    return np.where((mask == 0)[..., None], picture, half + (both & half & 1)).astype(np.uint8)  # rounded half to even
