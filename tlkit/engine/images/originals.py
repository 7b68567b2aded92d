"""What is known of an image as it was decoded, before it was brought to size: a digest of its pixels, its height and its width.

It is stored beside the pictures, so that identical images are found, and windows drawn in the original's shape, without decoding again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from tlkit.engine import row_keys
from tlkit.engine.images.geometry import Geometry
from tlkit.store import row_store, segments
from tlkit.store.usage import Kind

Originals = NDArray[np.void]  # (n,) ORIGINAL
ORIGINAL = np.dtype([("digest", "u1", (segments.KEY,)), ("height", "<u4"), ("width", "<u4")])
_BAND = 4 << 20  # bytes of an image that are hashed at a time


def original(image: Image.Image | NDArray[Any]) -> bytes:
    """Describe a decoded RGB image, or an array (H, W, bands), as one `ORIGINAL`."""
    if not isinstance(image, Image.Image):
        return _record(digest_of(image), *image.shape[:2])
    total, height, width = _begun(image.height, image.width), image.height, image.width
    rows = max(_BAND // (3 * width), 1)
    for top in range(0, height, rows):
        total.update(image.crop((0, top, width, min(top + rows, height))).tobytes())
    return _record(total.digest(), height, width)


def entry(geometry: Geometry, *, note: Callable[[str], None], verify: bool) -> row_store.Entry:
    """Open the stored descriptions of image files, which are the same whatever size the pictures are brought to."""
    origin = row_keys.decoded(geometry)
    return row_store.open_(Kind.PICTURES, origin, shape=(ORIGINAL.itemsize,), dtype="uint8", note=note, verify=verify)


def digest_of(pixels: NDArray[Any]) -> bytes:
    """Return the digest of an array (H, W, 3) uint8 RGB, of which an image of the same pixels has the first bytes, or of bands."""
    total = _begun(*pixels.shape[:2], channels=pixels.shape[2], dtype=pixels.dtype)
    total.update(np.ascontiguousarray(pixels).tobytes())
    return total.digest()


def _begun(height: int, width: int, *, channels: int = 3, dtype: DTypeLike = np.uint8) -> hashlib._Hash:
    """Begin a digest: the same bytes of another shape or type are another picture."""
    type_ = "" if dtype == np.uint8 else f" {np.dtype(dtype)}"
    return hashlib.sha256(f"{(height, width, channels)}{type_}\0".encode())


def _record(digest: bytes, height: int, width: int) -> bytes:
    return np.array([(np.frombuffer(digest[: segments.KEY], np.uint8), height, width)], ORIGINAL).tobytes()
