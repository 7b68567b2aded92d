"""Bring pixels of more than 8 bits to 8: which value of a file is black, and which is white.

The rule: what the file or the recipe says holds; where neither does, the image is refused, never guessed dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = tuple[float, float]  # values that become black and white

_FULL: Levels = (0.0, 65535.0)
# A picture whose brightest pixel is below this uses 14 bits or fewer. It is a dark one of 16 bits, or one of 10 to 14 bits, as cameras and
# microscopes write them into 16-bit files.
_DARK = 1 << 14
# Formats of which Pillow brings every value to 16 bits, whatever the file's own maximum is.
_SCALED = ("PPM", "JPEG2000")
_PNG_TYPES_OF_COLOUR = (2, 4, 6)  # of which Pillow keeps the upper 8 of 16 bits
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0


class UnknownRange(ValueError):
    """Pixels of which nobody says which value is white."""


def given(options: Mapping[str, Any]) -> Levels | None:
    """Return what `data.options.range` says: one number for white, or black and white; None where it says nothing."""
    value = options.get("range")
    if value is None:
        return None
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) else (0.0, float(value))


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened image has one channel of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def to_grey(image: Image.Image, levels: Levels | None, content: bytes = b"") -> Image.Image:
    """Return such an image with 8 bits a pixel.

    Args:
        image: Of mode I, F or I;16 and its kin.
        levels: Values of black and white; None where the file says it.
        content: Of its file.

    Raises:
        UnknownRange: nobody says which value is white.
    """
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnknownRange("some of its pixels are no numbers")
    low, high = levels or _told(image, content) or _full(image, values)
    grey = (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode.startswith("I;16"):
        grey = 255 - grey  # Pillow does this for 8 bits, and not for 16
    return Image.fromarray(grey)


def check_colour(image: Image.Image, levels: Levels | None, content: bytes) -> None:
    """Refuse a colour image of 16 bits that is so dark that it may hold 12: Pillow keeps the upper 8 bits alone.

    Args:
        image: Loaded, of 8 bits a channel.
        levels: As for `to_grey`.
        content: Of its file.

    Raises:
        UnknownRange: it is one.
    """
    if not _was_deep(image, content):
        return
    if levels not in (None, _FULL):
        raise UnknownRange(
            f"it has 16-bit colours, of which Pillow reads the upper 8, so a range of {levels[1]:g} cannot be applied"
        )
    bands = [np.asarray(image.getchannel(band)).max(initial=0) for band in image.getbands() if band != "A"]
    if levels is None and max(bands) < _DARK >> 8:
        raise UnknownRange(f"its 16-bit colours are all below {_DARK:,}, so it may be of fewer bits, or dark")


def _told(image: Image.Image, content: bytes) -> Levels | None:
    """Return the levels that a file of 16 bits tells: its bits per sample, or that Pillow scaled them."""
    if image.format in _SCALED:
        return _FULL
    bits = image.tag_v2.get(_BITS, (0,))[0] if hasattr(image, "tag_v2") else _significant_bits(content)
    if image.mode.startswith("I;16") and 8 < bits < 16:
        return 0.0, float(2**bits - 1)
    return None


def _full(image: Image.Image, values: NDArray[np.float64]) -> Levels:
    if not image.mode.startswith("I;16"):
        raise UnknownRange(f"its pixels are of mode {image.mode}, whose range is not known")
    brightest = int(values.max(initial=0))
    if brightest < _DARK:
        raise UnknownRange(f"its 16-bit values reach only {brightest:,}, so it may be of fewer bits, or dark")
    return _FULL


def _significant_bits(content: bytes) -> int:
    """Return the bits that chunk sBIT of a PNG file tells of its first channel; 0 where it has none."""
    at = 8
    while content.startswith(b"\x89PNG") and at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind == b"sBIT" and length:
            return content[at + 8]
        if kind == b"IDAT":
            return 0
        at += length + 12
    return 0


def _was_deep(image: Image.Image, content: bytes) -> bool:
    """Return whether the colours of a file have 16 bits."""
    if content.startswith(b"\x89PNG"):
        return len(content) > 25 and content[24] == 16 and content[25] in _PNG_TYPES_OF_COLOUR
    return hasattr(image, "tag_v2") and image.tag_v2.get(_BITS, (8,))[0] == 16
