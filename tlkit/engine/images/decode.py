"""Decode image files, and bring pictures to the size that a network takes.

The rule: an image that cannot be decoded is an error with its path, never a picture of something else.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from tlkit.engine.images import bands, levels
from tlkit.engine.images.levels import Levels, UnknownRange
from tlkit.errors import ImageError, option
from tlkit.plugin import Convention, Values, image_kinds
from tlkit.recipe.tables import MAX_PIXELS, DataTable
from tlkit.sources import band_files
from tlkit.sources.image_files import check_pixels, without_limit
from tlkit.units import Size

Pixels = NDArray[Any]  # (H, W, 3) uint8 RGB, or (H, W, bands)
Colour = tuple[float, ...]  # red, green, blue, or a value of each band

# Room that a random crop needs: 224 pixels out of 256, Krizhevsky et al. 2012.
CROP_ROOM = 256 / 224
# A side so many times as long as the other is resized only where the crop is: a line of 1 x 30,000 would become 4.5 GB.
_THIN = 8
# Above so many pixels, Pillow's own limit, files are decoded one at a time, JPEG at a reduced size.
_LARGE = 89_478_485
# Such a JPEG is decoded at no less than so many times the size that it is resized to, as Pillow's `reducing_gap` of thumbnails.
_REDUCING_GAP = 3
_FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# EXIF 2.32, tag 0x0112; as PIL.ImageOps.exif_transpose, which fails where any other part of the EXIF data is damaged.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RANGE = "data.options.range says which value is white: 4095 for 12 bits, 65535 for 16, or [black, white]"

_one_large = threading.Lock()


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
    """

    size: Size
    resized: Size
    resize: str
    fit: Literal["crop", "pad", "squash", "whole"] = "crop"
    padding: Colour | None = None
    max_pixels: int = MAX_PIXELS
    white: Levels | None = None
    bands: int | None = None
    values: Values = "uint8"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: height, width, channels."""
        return (*self.size, self.bands or 3)

    @property
    def bytes(self) -> int:
        """Size of the result."""
        return math.prod(self.shape) * np.dtype(self.values).itemsize


def evaluation_geometry(image_size: Size, convention: Convention, data: DataTable) -> Geometry:
    """Return the geometry of evaluation, and of training without a random crop.

    Args:
        image_size: Height and width of the network's input.
        convention: Of the weights; its `crop` counts for fit = "crop" alone, since the others keep the whole picture.
        data: The recipe's table [data].
    """
    height, width = image_size
    crop = convention.crop if data.fit == "crop" else 1
    return _geometry(image_size, (round(height / crop), round(width / crop)), convention, data)


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


def _geometry(size: Size, resized: Size, convention: Convention, data: DataTable) -> Geometry:
    padding = convention.mean_colour if data.fit == "pad" else None
    if data.channels is None:
        return Geometry(size, resized, convention.resize, data.fit, padding, data.max_pixels, levels.given(data.options))
    return Geometry(
        size, resized, convention.resize, data.fit, padding, data.max_pixels, bands=data.channels, values=convention.values
    )


def described(data: DataTable, convention: Convention) -> dict[str, str]:
    """Return what is done to an image file before it is brought to size, in words, for who reads a run without tlkit.

    Args:
        data: The recipe's table [data].
        convention: Of the network.
    """
    if data.channels is not None:
        resizing = {
            "uint8": "each band by itself, as a grey picture",
            "uint16": "each band by itself as float32, then rounded",
            "float32": "each band by itself",
        }[convention.values]
        return {"values": f"{convention.values}, as in the file", "bands": "in the order of the file", "resizing": resizing}
    white = levels.given(data.options)
    full = (
        "value / 65535, or / the largest value of the bits that the file tells"
        if white is None
        else f"from {white[0]:g} to {white[1]:g}"
    )
    return {
        "exif_orientation": "applied",
        "transparency": "on white",
        "grey": "the same in all three channels",
        "more_than_8_bits": f"{full}, rounded to 0 .. 255",
    }


def decode(
    path: Path,
    *,
    digest: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
    needed: Size | None = None,
    white: Levels | None = None,
) -> Image.Image:
    """Read an image file as RGB, turned as its EXIF says, transparency on white.

    Args:
        path: The file.
        digest: The beginning of the sha256 that its content must have.
        max_pixels: A file with more is refused.
        needed: The size that the picture is resized to. A JPEG file of more than 89 million pixels is decoded at 1/2, 1/4 or 1/8 of
            its size where that is at least three times this; all other files are decoded whole.
        white: Values of black and white, if it has more than 8 bits; None where the file says it.

    Raises:
        ImageError: it is no image, truncated, of more than `max_pixels`, of a kind that cannot be turned into RGB, of a range that
            is not known, or of another digest.
        MemoryError: it does not fit into memory.
    """
    try:
        content = _content(path, digest)
        if image_kinds.is_heif(content[:16]) and not image_kinds.reads_heif():
            raise ImageError(f"{path}: is a HEIF file, which needs pi-heif to be read.", "pip install tlkit[heif]")
        with without_limit(), Image.open(io.BytesIO(content)) as image:
            count = check_pixels(path, image, max_pixels)
            with _one_large if count > _LARGE else nullcontext():
                if count > _LARGE and needed is not None:
                    image.draft("RGB", (_REDUCING_GAP * max(needed), _REDUCING_GAP * max(needed)))  # nothing but JPEG has it
                image.load()
                return upright(rgb(image, white=white, content=content), orientation(image))
    except UnknownRange as error:
        raise ImageError(f"{path}: cannot be decoded: {error}.", _RANGE) from error
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not an image.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error


def _content(path: Path, digest: bytes | None) -> bytes:
    """Return the bytes of a file, which must have a digest that begins so."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder.", "name the image files in it") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error
    if digest is not None and not hashlib.sha256(content).digest().startswith(digest):
        hint = f"run the same again, with {option('verify', True)} if it says so again"
        raise ImageError(f"{path}: changed while it was read.", hint)
    return content


def picture(source: Path | Pixels, geometry: Geometry, *, digest: bytes | None = None) -> Pixels:
    """Return a file, of a digest where one is given, or an array, brought to size: (height, width, 3) uint8, or (height, width, bands).

    Raises:
        ImageError: as `decode`.
        MemoryError: the picture does not fit into memory.
    """
    return fit(whole(source, geometry, digest=digest), geometry)


def whole(source: Path | Pixels, geometry: Geometry, *, digest: bytes | None = None) -> Image.Image | Pixels:
    """Return the image that `picture` brings to size, of bands as an array; the arguments and errors are the same."""
    if geometry.bands is not None:
        if not isinstance(source, Path):
            return source
        content = _content(source, digest)
        return band_files.read(source, content, geometry.bands, values=geometry.values, max_pixels=geometry.max_pixels)
    if not isinstance(source, Path):
        return Image.fromarray(np.ascontiguousarray(source))
    return decode(source, digest=digest, max_pixels=geometry.max_pixels, needed=geometry.resized, white=geometry.white)


def fit(image: Image.Image | Pixels, geometry: Geometry) -> Pixels:
    """Bring a picture to size: (height, width, 3) uint8, or of bands, each by itself, (height, width, bands).

    Rounding of a crop is that of torchvision.transforms.Resize and CenterCrop, of a padding that of PIL.ImageOps.pad.

    Raises:
        MemoryError: the picture does not fit into memory.
    """
    if not isinstance(image, Image.Image):
        paddings = geometry.padding or (None,) * image.shape[2]
        fitted = (
            fit(bands.as_image(image[:, :, band]), replace(geometry, padding=None if value is None else (value,)))
            for band, value in enumerate(paddings)
        )
        return bands.joined(list(fitted), geometry.values)
    match geometry.fit:
        case "crop":
            return np.asarray(_cropped(image, geometry))
        case "pad":
            return np.asarray(_padded(image, geometry))
        case "squash" | "whole":
            return np.asarray(image.resize(geometry.resized[::-1], _FILTERS[geometry.resize]))


def _cropped(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize a picture until it just covers `resized`, and keep its middle."""
    (height, width), (tall, wide) = geometry.size, geometry.resized
    if image.width * tall <= image.height * wide:
        size = (wide, int(wide * image.height / image.width))
    else:
        size = (int(tall * image.width / image.height), tall)
    if image.size != size:
        if size[0] >= _THIN * wide or size[1] >= _THIN * tall:
            return _middle(image, size, geometry)
        image = image.resize(size, _FILTERS[geometry.resize])
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image if image.size == (width, height) else image.crop((left, top, left + width, top + height))


def _middle(image: Image.Image, size: tuple[int, int], geometry: Geometry) -> Image.Image:
    """Return the middle of an image as it would be after a resize to `size`, (width, height)."""
    sides = geometry.size[::-1]
    (left, right), (top, bottom) = (
        (old * start / new, min(old * (start + side) / new, old))
        for old, new, side in zip(image.size, size, sides, strict=True)
        for start in (round((new - side) / 2),)
    )
    return image.resize(sides, _FILTERS[geometry.resize], box=(left, top, right, bottom))


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


def rgb(image: Image.Image, *, white: Levels | None = None, content: bytes = b"") -> Image.Image:
    """Return an image as RGB, transparency on white, more than 8 bits as 8.

    Args:
        image: Loaded.
        white: Values of black and white, if it has more than 8 bits; None where the file says it.
        content: Of its file, if it has one.

    Raises:
        UnknownRange: it has more than 8 bits, and nobody says which value is white.
    """
    if levels.is_deep(image):
        return levels.to_grey(image, white, content).convert("RGB")
    levels.check_colour(image, white, content)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        blank = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(blank, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """Return how an opened image is to be turned, as its EXIF data says: 1 to 8; 1 where they are missing or damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises; the pixels are sound all the same
        return 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """Return an image turned as `orientation` says."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image
