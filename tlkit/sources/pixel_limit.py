"""Refuse images of more pixels than may be decoded. Imports no torch."""

from __future__ import annotations

import os

from tlkit.errors import ImageError


def check(path: os.PathLike[str], width: int, height: int, max_pixels: int) -> int:
    """Return how many pixels an image has.

    Raises:
        ImageError: more than `max_pixels`.
    """
    count = width * height
    if count > max_pixels:
        raise ImageError(
            f"{path}: has {width:,} x {height:,} pixels, more than data.max_pixels, {max_pixels:,}.",
            f"data.max_pixels = {count}, or make the image smaller",
            f"with a finished run: tlkit predict --max-pixels {count}",
        )
    return count
