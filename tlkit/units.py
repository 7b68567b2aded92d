"""Format numbers for people: image sizes, counts, bytes, seconds."""

from __future__ import annotations

Size = tuple[int, int]  # height and width of a picture, pixels


def pixels(size: Size) -> str:
    """Return an image's size as text: "224 px" for a square, else height x width, "160x320 px"."""
    height, width = size
    return f"{height} px" if height == width else f"{height}x{width} px"


def channels(count: int) -> str:
    """Return a number of bands as text: "1 band", "13 bands"."""
    return "1 band" if count == 1 else f"{count} bands"


def images(count: int) -> str:
    """Return a number of images as text."""
    return "1 image" if count == 1 else f"{count:,} images"


def size(count: float) -> str:
    """Return bytes as text with three digits: 1 KB is 1000 bytes."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KB", "MB"):
        count /= 1000
        if count < 999.5:  # or it would be rounded to 1e+03
            return f"{count:.3g} {unit}"
    count /= 1000
    return f"{count:.3g} GB" if count < 999.5 else f"{count:,.0f} GB"


def seconds(value: float) -> str:
    """Return a duration in seconds as text, with two digits where it is short."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"
