"""Numbers as a person reads them."""

from __future__ import annotations

Size = tuple[int, int]  # height and width of a picture, pixels


def pixels(size: Size) -> str:
    """Return a picture's size in words: "224 px" of a square, else height x width, "160x320 px"."""
    height, width = size
    return f"{height} px" if height == width else f"{height}x{width} px"


def images(count: int) -> str:
    """Return a number of images in words."""
    return "1 image" if count == 1 else f"{count:,} images"


def size(count: float) -> str:
    """Return bytes as disks are measured, in three digits: 1 KB is 1000 bytes."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KB", "MB"):
        count /= 1000
        if count < 999.5:  # or it would be rounded to 1e+03
            return f"{count:.3g} {unit}"
    count /= 1000
    return f"{count:.3g} GB" if count < 999.5 else f"{count:,.0f} GB"
