"""Numbers and how people write them: image sizes, counts, bytes, seconds."""

from __future__ import annotations

import re

from tlkit.errors import UsageError, option

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
Size = tuple[int, int]  # height and width of a picture, pixels


def pixels(size: Size) -> str:
    """Return an image's size as text: "224 px" for a square, else height x width, "160x320 px"."""
    height, width = size
    return f"{height} px" if height == width else f"{height}x{width} px"


def channels(count: int) -> str:
    """Return a number of bands as text: "1 band", "13 bands"."""
    return counted(count, "band")


def images(count: int, *, kind: str = "") -> str:
    """Return a number of images as text; `kind` stands before the noun, "test "."""
    return counted(count, f"{kind}image")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, which ends in "s" where it is not 1."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


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


def duration(text: str | float, *, name: str) -> float:
    """Return the seconds of "90s", "10m" or "1h"; a number alone is seconds.

    Args:
        text: As a person wrote it, or seconds.
        name: The option that it was given for.

    Raises:
        TlkitError: it is no such time, or not above 0.
    """
    text = text if isinstance(text, str) else f"{text:f}"
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh]?)\s*", text)
    if not found or not float(found[1]):
        raise UsageError(f"{option(name, text)}: is no time.", "a number of seconds, minutes or hours: 90s, 10m, 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def byte_count(text: str | float, *, name: str) -> float:
    """Return the bytes of "200MB" or "1.5GB"; a number alone is bytes, and 1 KB is 1000 of them.

    Args:
        text: As a person wrote it, or bytes.
        name: The option that it was given for.

    Raises:
        TlkitError: it is no such size, or not above 0.
    """
    text = text if isinstance(text, str) else f"{text:f}"
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG]?)B?\s*", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise UsageError(f"{option(name, text)}: is no size.", "a number of bytes, with a unit: 200MB, 1.5GB")
    return float(found[1]) * 1000.0 ** " KMG".index(found[2].upper() or " ")


def clock(seconds: float) -> str:
    """Return "0:07", "12:34" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
