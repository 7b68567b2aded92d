"""The size of a picture, and the factor by which `data.scale_to` scales it. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tlkit.errors import ImageError
from tlkit.plugin import ImageFile
from tlkit.sources import image_files, orientation
from tlkit.units import Size

_BRIGHT = 0.15  # of the picture's brightest pixels: inside the field of view
_LINE = 0.02  # part of a row or column that is bright, where it crosses the field of view


def size_of(source: ImageFile | NDArray[np.uint8]) -> Size:
    """Return the height and width of a picture, turned as its EXIF says.

    Raises:
        ImageError: it is no image.
    """
    if isinstance(source, np.ndarray):
        return int(source.shape[0]), int(source.shape[1])
    try:
        with image_files.opened(source) as image:
            return orientation.upright_size(image)
    except FileNotFoundError:
        raise ImageError(f"{source}: there is no such file.") from None
    except UnidentifiedImageError as error:
        raise ImageError(f"{source}: is not an image.") from error
    except Exception as error:  # whatever Pillow raises
        raise ImageError(f"{source}: cannot be decoded: {error}.") from error


def scaled(size: Size, factor: float) -> Size:
    """Return a height and width times a factor, at least 1."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def whole_strides(size: Size, stride: int) -> Size:
    """Return the smallest height and width of whole strides that hold a picture, one stride at least."""
    height, width = (max(1, math.ceil(side / stride)) * stride for side in size)
    return height, width


def factor(image: Image.Image, field_of_view: int | None, otherwise: float) -> float:
    """Return what a picture is scaled by: until its field of view has a diameter, else by a given factor.

    Raises:
        ImageError: the picture is dark everywhere.
    """
    return otherwise if field_of_view is None else field_of_view / diameter(image)


def diameter(image: Image.Image) -> float:
    """Return the diameter of the bright disc in a picture, in pixels.

    A disc that the picture cuts off above and below has its width as diameter.

    Raises:
        ImageError: the picture is dark everywhere.
    """
    return across(bright(image))


def across(disc: NDArray[np.bool_]) -> float:
    """Return the diameter of a disc (H, W), in pixels: the longer side of where rows and columns cross it."""
    spans = []
    for axis in (0, 1):
        crossing = np.flatnonzero(disc.mean(axis) > _LINE)
        spans.append(int(crossing[-1] - crossing[0]) + 1 if len(crossing) else 1)
    return float(max(spans))


def bright(image: Image.Image) -> NDArray[np.bool_]:
    """Return which pixels (H, W) are bright beside the picture's brightest ones.

    Raises:
        ImageError: the picture is dark everywhere.
    """
    brightest = np.asarray(image.convert("RGB")).max(2)  # (H, W)
    top = float(np.quantile(brightest, 0.99))
    found: NDArray[np.bool_] = brightest > _BRIGHT * top
    if top == 0 or not found.any():
        raise ImageError("is dark everywhere, so its field of view cannot be measured.")
    return found
