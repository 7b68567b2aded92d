"""The factor by which `data.scale_to` scales a picture, and the size that the picture then has on its canvas.

The rule: a field of view is measured where the data set has a mask of it, else in the picture as it is decoded for training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import Geometry, Pixels
from tlkit.errors import ImageError
from tlkit.plugin import ImageFile, MaskFile, Split
from tlkit.sources import band_files, mask_files, scaling
from tlkit.units import Size


def sizes(split: Split, geometry: Geometry) -> NDArray[np.int64]:
    """Return the height and width (N, 2) of each picture of a split after it is scaled; one that cannot be read has 0.

    Args:
        split: The pictures. The beginning of each file is read; the whole of it where a field of view is measured in it.
        geometry: How they are put on a canvas.
    """
    found = np.zeros((len(split.targets), 2), np.int64)
    for index in range(len(found)):
        try:
            found[index] = scaled_size(split, index, geometry)
        except ImageError:  # decoding names it
            continue
    return found


def scaled_size(split: Split, index: int, geometry: Geometry) -> Size:
    """Return the height and width of one picture after it is scaled.

    Raises:
        ImageError: it cannot be read, or its field of view cannot be measured.
    """
    source = source_of(split, index)
    return scaling.scaled(size_of(source, geometry), factor(split, index, geometry))


def factor(split: Split, index: int, geometry: Geometry, image: Image.Image | Pixels | None = None) -> float:
    """Return what one picture is scaled by.

    Args:
        split: The pictures.
        index: Which.
        geometry: How they are put on a canvas.
        image: The picture as `decode.whole` gives it; None where it is not decoded yet.

    Raises:
        ImageError: a file cannot be read, or is dark everywhere.
    """
    if geometry.field_of_view is None:
        return geometry.scale
    source = source_of(split, index)
    seen = mask_of_view(split, index)
    if seen is not None:
        return geometry.field_of_view / scaling.across(mask_files.field_of_view(seen, size=size_of(source, geometry)))
    image = decode.whole(source, geometry) if image is None else image
    if not isinstance(image, Image.Image):
        raise ImageError(f"{source}: has bands, and a field of view is measured in colours.")
    try:
        return scaling.factor(image, geometry.field_of_view, geometry.scale)
    except ImageError as error:
        raise ImageError(f"{_name(source, index)}: {error.problem}") from error


def settled(split: Split, index: int, geometry: Geometry, image: Image.Image | Pixels) -> Geometry:
    """Return the geometry of one picture, which says what it is scaled by; arguments and errors are those of `factor`."""
    if geometry.field_of_view is None:
        return geometry
    return replace(geometry, scale=factor(split, index, geometry, image), field_of_view=None)


def mask_of_view(split: Split, index: int) -> Path | None:
    """Return the file that says where the camera saw something in one picture; None where the data set has none."""
    mask = split.targets[index]
    return mask.field_of_view if isinstance(mask, MaskFile) and not mask.measured else None


def size_of(source: ImageFile | Pixels, geometry: Geometry) -> Size:
    """Return the height and width of a picture as the file has them, turned as its EXIF says.

    Raises:
        ImageError: it is no image.
    """
    if geometry.bands is None or isinstance(source, np.ndarray):
        return scaling.size_of(source)
    path = Path(source)
    found = band_files.header(path)
    return found.size(band_files.band_axis(path, found, geometry.bands))


def source_of(split: Split, index: int) -> ImageFile | Pixels:
    """Return the file of one picture, or its pixels."""
    return split.files[index] if split.pixels is None else split.pixels[index]


def _name(source: ImageFile | Pixels, index: int) -> str:
    return f"image {index}" if isinstance(source, np.ndarray) else str(source)
