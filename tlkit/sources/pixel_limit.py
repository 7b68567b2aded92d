"""Refuse images of more pixels than may be decoded. Imports no torch."""

from __future__ import annotations

import os

from tlkit.errors import ImageError

IN_RECIPE = "data.max_pixels = "


def check(path: os.PathLike[str], width: int, height: int, max_pixels: int, *, raised_by: str = IN_RECIPE) -> int:
    """Return how many pixels an image has.

    Args:
        path: The file, for messages.
        width: In pixels.
        height: In pixels.
        max_pixels: The limit.
        raised_by: What the user writes before the number to raise the limit; "" where it cannot be raised.

    Raises:
        ImageError: more than `max_pixels`.
    """
    count = width * height
    if count > max_pixels:
        key = ", data.max_pixels" if raised_by == IN_RECIPE else ""
        raise ImageError(
            f"{path}: has {width:,} x {height:,} pixels, more than the limit of {max_pixels:,}{key}.",
            f"{raised_by}{count}, or make the image smaller" if raised_by else "make the image smaller",
        )
    return count
