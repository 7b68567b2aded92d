"""Small colour pictures of decoded images, as a page shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine.images.parts import Part


def pictures(part: Part, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images (n, H, W, 3) of rows of a part: colour pictures as they are, of others the first three bands as colours."""
    found = part.pictures.get(part.indices[rows]).numpy()
    return found if part.convention.channels != "bands" else _as_colours(found)


def thumbnails(part: Part, rows: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Return images (n, h, w, 3) of rows of a part, whose longer side is at most `side`."""
    if not len(rows):
        return np.zeros((0, 1, 1, 3), np.uint8)
    return np.stack([_resized(each, side) for each in pictures(part, rows)])


def _as_colours(pictures: NDArray[Any]) -> NDArray[np.uint8]:
    """Show bands (n, H, W, bands) as red, green and blue, each from its 2nd to its 98th percentile; one band alone as grey."""
    bands = pictures[..., :3] if pictures.shape[3] >= 3 else np.repeat(pictures[..., :1], 3, axis=3)
    low, high = np.percentile(bands, (2, 98), axis=(0, 1, 2))
    scaled = (bands.astype(np.float64) - low) / np.maximum(high - low, 1e-12)
    shown: NDArray[np.uint8] = (255 * np.clip(scaled, 0, 1)).round().astype(np.uint8)
    return shown


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
