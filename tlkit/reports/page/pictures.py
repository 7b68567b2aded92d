"""Arrays as pictures inside a page: grids of kernels, thumbnails, sheets of patches, Grad-CAM."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_GREY = 128
# Black, purple, orange, yellow: ends and middles of matplotlib's "inferno".
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)


def png(pixels: Pixels) -> str:
    """Return (h, w, 3), (h, w, 4) with opacity, or (h, w) pixels as a data URI without loss."""
    return _uri(pixels, "PNG")


def jpeg(pixels: Pixels) -> str:
    """Return (h, w, 3) pixels as a data URI with little loss."""
    return _uri(pixels, "JPEG")


def _uri(pixels: Pixels, kind: str) -> str:
    buffer = io.BytesIO()
    options = {"quality": 80} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def grid(values: NDArray[np.float32], *, scale: float, columns: int = 8) -> Pixels:
    """Return kernels (n, k, k) or (n, k, k, 3) side by side as (h, w, 4), with a transparent line of one pixel between them.

    Args:
        values: From -scale, dark, over 0, grey, to scale, bright.
        scale: Greatest absolute value; 0 draws all in grey.
        columns: Kernels in a row.
    """
    rgb = values if values.ndim == 4 else np.repeat(values[..., None], 3, axis=3)
    drawn = np.full(rgb.shape, _GREY, np.uint8) if not scale else (127.5 + 127.5 * np.clip(rgb / scale, -1, 1)).round()
    opaque = np.concatenate([drawn.astype(np.uint8), np.full((*drawn.shape[:-1], 1), 255, np.uint8)], axis=3)
    return sheet(opaque, columns=columns, gap=1, between=0)  # white lines would shine on the dark theme


def sheet(images: Pixels, *, columns: int, gap: int = 2, between: int = 255) -> Pixels:
    """Return images (n, h, w, channels) in rows of `columns`, with lines of a value between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    out = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), between, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        out[top : top + height, left : left + width] = image
    return out


def heated(image: Pixels, heat: Pixels) -> Pixels:
    """Return an image (h, w, 3) under a heat map of any size, 0 to 255."""
    height, width = image.shape[:2]
    large = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    place = large * (len(_HEAT) - 1)
    low = np.clip(place.astype(int), 0, len(_HEAT) - 2)
    share = (place - low)[..., None]
    colours = _HEAT[low] * (1 - share) + _HEAT[low + 1] * share
    return np.asarray((0.45 * image + 0.55 * colours).round().astype(np.uint8))
