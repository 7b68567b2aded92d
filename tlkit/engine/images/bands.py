"""Arrays of bands as Pillow's pictures of one band, and back: each band is resized by itself, as colours are.

Bands of uint8 are resized as Pillow resizes grey pictures, all others as float32, Pillow's mode F. What was uint16 is rounded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlkit.plugin import Values
from tlkit.sources.band_files import Bands


def as_image(band: NDArray[Any]) -> Image.Image:
    """Return one band (H, W) as a picture: uint8 of Pillow's mode L, others of mode F."""
    return Image.fromarray(np.ascontiguousarray(band, np.uint8 if band.dtype == np.uint8 else np.float32))


def joined(bands: Sequence[NDArray[Any]], values: Values) -> Bands:
    """Return bands (H, W) as one array (H, W, bands): where its values are whole numbers, rounded and cut to their range."""
    stacked: Bands = np.stack(bands, axis=-1)
    if values == "uint16":
        stacked = np.clip(np.rint(stacked), 0, 65535).astype(np.uint16)
    return stacked
