"""Bring pictures to the size that a network takes: which size that is, and the resize, crop or padding.

The rule: rounding is that of torchvision and Pillow, so that a picture is the one that the weights were trained with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine.images import bands, levels
from tlkit.engine.images.levels import Levels
from tlkit.plugin import Convention, Values
from tlkit.recipe.tables import MAX_PIXELS, DataTable, FieldOfView
from tlkit.sources import scaling
from tlkit.sources.pixel_limit import IN_RECIPE
from tlkit.units import Size

Pixels = NDArray[Any]  # (H, W, 3) uint8 RGB, or (H, W, bands)
Colour = tuple[float, ...]  # red, green, blue, or a value of each band

# Room that a random crop needs: 224 pixels out of 256, Krizhevsky et al. 2012.
CROP_ROOM = 256 / 224
# A side so many times as long as the other is resized only where the crop is: a line of 1 x 30,000 would become 4.5 GB.
_THIN = 8
CENTRE = (0.5, 0.5)
_FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Geometry:
    """How a picture of any size is brought to the size that a network takes.

    Attributes:
        size: Height and width of the result.
        resized: Height and width of what the result is the centre of. fit = "crop" resizes the picture to cover it, "pad" to fit
            into it, "squash" and "whole" to be it.
        resize: Filter, antialiased.
        fit: As `data.fit` in a recipe; "whole" is "squash" for pictures that windows of the original's shape are taken from.
        padding: Colour of the border of fit = "pad"; None of the others.
        max_pixels: An image file with more is refused.
        white: Values of black and white in files of more than 8 bits; None where each file says it.
        bands: Number of bands of the images; None of colour pictures.
        values: Type of their values; of colour pictures uint8.
        at: Where the result is cut out of the resized picture, from (0, 0), its top left, to (1, 1), its bottom right.
        mirrored: The result is flipped horizontally.
        shrink: The result keeps the detail of a picture whose shorter side has so many pixels; None where it keeps all.
        scale: fit = "canvas" scales every picture by it, and puts it into the upper left of the result.
        field_of_view: Diameter in pixels that the bright disc of a picture gets instead; None where `scale` counts.
        raised_by: How a message raises `max_pixels`, as in `pixel_limit.check`; it changes no picture.
    """

    size: Size
    resized: Size
    resize: str
    fit: Literal["crop", "pad", "squash", "whole", "canvas"] = "crop"
    padding: Colour | None = None
    max_pixels: int = MAX_PIXELS
    white: Levels | None = None
    bands: int | None = None
    values: Values = "uint8"
    at: tuple[float, float] = CENTRE
    mirrored: bool = False
    shrink: int | None = None
    scale: float = 1.0
    field_of_view: int | None = None
    raised_by: str = field(default=IN_RECIPE, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: height, width, channels."""
        return (*self.size, self.bands or 3)

    @property
    def bytes(self) -> int:
        """Size of the result."""
        return math.prod(self.shape) * np.dtype(self.values).itemsize


def evaluation_geometry(image_size: Size, convention: Convention, data: DataTable, *, canvas: Size | None = None) -> Geometry:
    """Return the geometry of evaluation, and of training without a random crop.

    Args:
        image_size: Height and width of the network's input.
        convention: Of the weights; its `crop` counts for fit = "crop" alone, since the others keep the whole picture.
        data: The recipe's table [data].
        canvas: Height and width of the canvas that whole pictures are put on, for masks; None of other tasks.
    """
    if canvas is not None:
        return canvas_geometry(canvas, convention, data)
    height, width = image_size
    crop = convention.crop if data.fit == "crop" else 1
    return _geometry(image_size, (round(height / crop), round(width / crop)), convention, data)


def canvas_geometry(canvas: Size, convention: Convention, data: DataTable) -> Geometry:
    """Return the geometry of pictures that are put whole on a canvas, scaled as `data.scale_to` says, as masks need them.

    Args:
        canvas: Height and width of the canvas.
        convention: Of the weights; what a picture does not cover has its mean colour.
        data: The recipe's table [data].
    """
    made = _geometry(canvas, canvas, convention, data)
    by = data.scale_to
    view = by.field_of_view if isinstance(by, FieldOfView) else None
    scale = 1.0 if by is None or isinstance(by, FieldOfView) else float(by)
    return replace(made, fit="canvas", padding=convention.mean_colour, scale=scale, field_of_view=view)


def crop_geometry(image_size: Size, convention: Convention, data: DataTable) -> Geometry:
    """Return the geometry of pictures that a random crop of `image_size` is taken from.

    They are as large as those of evaluation are before the centre crop where the recipe says that crop, else 256/224 as large.
    """
    height, width = image_size
    larger = CROP_ROOM if data.crop is None or data.fit != "crop" else 1 / data.crop
    room = round(height * larger), round(width * larger)
    return _geometry(room, room, convention, data)


def window_geometry(
    image_size: Size, convention: Convention, data: DataTable, *, smallest: float, originals: Size | None
) -> Geometry:
    """Return the geometry of pictures that windows of random size are taken from, each then brought to `image_size`.

    A picture is kept whole, and so large that the smallest window need not be enlarged, but no larger than the images are.

    Args:
        image_size: Height and width of the network's input.
        convention: Of the weights.
        data: The recipe's table [data]; with fit = "pad" and "squash" windows are taken from the fitted picture, else from the original.
        smallest: Area of the smallest window, as a part of the picture's.
        originals: Height and width that the images have, more or less; None where that is not known.
    """
    height, width = (round(side / smallest**0.5) for side in image_size)
    if originals is not None:
        tall, wide = originals
        if data.fit == "crop":
            height, width = min(height, tall), min(width, wide)
        else:
            share = min(1, max(tall / height, wide / width))
            height, width = max(1, round(share * height)), max(1, round(share * width))
    made = _geometry((height, width), (height, width), convention, data)
    return replace(made, fit="whole") if data.fit == "crop" else made


def fitted(image: Image.Image | Pixels, geometry: Geometry) -> Pixels:
    """Bring a picture to size: (height, width, 3) uint8, or of bands, each by itself, (height, width, bands).

    Rounding of a crop is that of torchvision.transforms.Resize and CenterCrop, of a padding that of PIL.ImageOps.pad.

    Raises:
        MemoryError: the picture does not fit into memory.
    """
    if not isinstance(image, Image.Image):
        paddings = geometry.padding or (None,) * image.shape[2]
        each = (
            fitted(bands.as_image(image[:, :, band]), replace(geometry, padding=None if value is None else (value,)))
            for band, value in enumerate(paddings)
        )
        return bands.joined(list(each), geometry.values)
    made = _shrunk(_brought_to_size(image, geometry), geometry)
    return np.asarray(made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.mirrored else made)


def _brought_to_size(image: Image.Image, geometry: Geometry) -> Image.Image:
    if geometry.fit == "crop":
        return _cropped(image, geometry)
    if geometry.at != CENTRE:
        return _cut(_brought_to_size(image, replace(geometry, size=geometry.resized, at=CENTRE)), geometry)
    if geometry.fit == "canvas":
        return on_canvas(image, geometry, scaling.factor(image, geometry.field_of_view, geometry.scale))
    if geometry.fit == "pad":
        return _padded(image, geometry)
    return image.resize(geometry.resized[::-1], _FILTERS[geometry.resize])


def _shrunk(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Make a picture smaller and large again, as one of low resolution is that is enlarged for a network."""
    if geometry.shrink is None:
        return image
    factor = geometry.shrink / min(image.size)
    small = tuple(max(1, round(side * factor)) for side in image.size)
    return image.resize((small[0], small[1]), _FILTERS[geometry.resize]).resize(image.size, _FILTERS[geometry.resize])


def _geometry(size: Size, resized: Size, convention: Convention, data: DataTable) -> Geometry:
    padding = convention.mean_colour if data.fit == "pad" else None
    if data.channels is None:
        return Geometry(size, resized, convention.resize, data.fit, padding, data.max_pixels, levels.given(data.options))
    return Geometry(
        size, resized, convention.resize, data.fit, padding, data.max_pixels, bands=data.channels, values=convention.values
    )


def _cropped(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize a picture until it just covers `resized`, and keep its middle, or what is at another place."""
    tall, wide = geometry.resized
    if image.width * tall <= image.height * wide:
        size = (wide, int(wide * image.height / image.width))
    else:
        size = (int(tall * image.width / image.height), tall)
    if image.size != size:
        if size[0] >= _THIN * wide or size[1] >= _THIN * tall:
            return _middle(image, size, geometry)
        image = image.resize(size, _FILTERS[geometry.resize])
    return _cut(image, geometry)


def _cut(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Return the part of a resized image that the result is."""
    (height, width), (down, across) = geometry.size, geometry.at
    left, top = round((image.width - width) * across), round((image.height - height) * down)
    return image if image.size == (width, height) else image.crop((left, top, left + width, top + height))


def _middle(image: Image.Image, size: tuple[int, int], geometry: Geometry) -> Image.Image:
    """Return the middle of an image, or another part, as it would be after a resize to `size`, (width, height)."""
    sides = geometry.size[::-1]
    (left, right), (top, bottom) = (
        (old * start / new, min(old * (start + side) / new, old))
        for old, new, side, part in zip(image.size, size, sides, geometry.at[::-1], strict=True)
        for start in (round((new - side) * part),)
    )
    return image.resize(sides, _FILTERS[geometry.resize], box=(left, top, right, bottom))


def on_canvas(image: Image.Image, geometry: Geometry, factor: float) -> Image.Image:
    """Scale a picture by a factor, and put it into the upper left of a canvas of one colour; what does not fit is cut off."""
    tall, wide = scaling.scaled((image.height, image.width), factor)
    if image.size != (wide, tall):
        image = image.resize((wide, tall), _FILTERS[geometry.resize])
    height, width = geometry.size
    if image.size == (width, height):
        return image
    padding = geometry.padding or (0,) * len(image.getbands())
    colours = tuple(value if image.mode == "F" else round(value) for value in padding)
    canvas = Image.new(image.mode, (width, height), colours[0] if len(image.getbands()) == 1 else colours)
    canvas.paste(image, (0, 0))
    return canvas


def _padded(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize a picture until it just fits into `size`, and put it into the middle of one colour."""
    height, width = geometry.size
    if image.width * height >= image.height * width:
        size = (width, max(1, round(width * image.height / image.width)))
    else:
        size = (max(1, round(height * image.width / image.height)), height)
    if image.size != size:
        image = image.resize(size, _FILTERS[geometry.resize])
    if size == (width, height):
        return image
    colour = geometry.padding[0] if image.mode != "RGB" and geometry.padding else geometry.padding
    padded = Image.new(image.mode, (width, height), colour)
    padded.paste(image, (round((width - size[0]) / 2), round((height - size[1]) / 2)))
    return padded
