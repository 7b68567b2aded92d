"""Image files and arrays to square uint8 pictures of one size.

The rule: an image that cannot be decoded is an error with its path, never a picture of something else.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tlkit.errors import ImageError
from tlkit.plugin import Convention

Pixels = NDArray[np.uint8]

# Room that a random crop needs: 224 pixels out of 256, Krizhevsky et al. 2012.
CROP_ROOM = 256 / 224
# A side so many times as long as the other is resized only where the square is: a line of 1 x 30,000 would become 4.5 GB.
_THIN = 8
_FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


# An image of so many pixels is refused, not warned of. For the process: catch_warnings is not safe in the threads that decode.
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Geometry:
    """How a picture is brought to size.

    Attributes:
        short: Pixels of the short side after the resize.
        side: Pixels of the centre square that is kept.
        resize: Filter, antialiased.
    """

    short: int
    side: int
    resize: str


def still(image_size: int, convention: Convention) -> Geometry:
    """Geometry of evaluation, and of training without a random crop."""
    return Geometry(round(image_size / convention.crop), image_size, convention.resize)


def roomy(image_size: int, convention: Convention) -> Geometry:
    """Geometry that leaves room for a random crop of image_size."""
    short = round(image_size * CROP_ROOM)
    return Geometry(short, short, convention.resize)


def decode(path: Path, *, digest: bytes | None = None) -> Image.Image:
    """Read an image file as RGB, turned as its EXIF says, transparency on white.

    Args:
        path: Of the file.
        digest: The beginning of the sha256 that its content must have.

    Raises:
        ImageError: it is no image, truncated, above Pillow's limit of pixels, of a kind that cannot be turned into RGB, or
            of another digest.
        MemoryError: it does not fit into memory.
    """
    try:
        content = path.read_bytes()
        if digest is not None and not hashlib.sha256(content).digest().startswith(digest):
            hint = "run the same command again, with --verify if it says so again"
            raise ImageError(f"{path}: changed while it was read.", hint)
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder.", "name the image files in it") from None
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not an image.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise ImageError(f"{path}: has more pixels than Pillow takes, {limit}.", "make the image smaller") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error


def picture(source: Path | Pixels, *, digest: bytes | None = None) -> Image.Image:
    """Return a file, of a digest where one is given, or an array (H, W, 3) uint8 RGB, as an image."""
    return decode(source, digest=digest) if isinstance(source, Path) else Image.fromarray(np.ascontiguousarray(source))


def fit(image: Image.Image, geometry: Geometry) -> Pixels:
    """Resize the short side and keep the centre square: (side, side, 3) uint8.

    Rounding is that of torchvision.transforms.Resize and CenterCrop.

    Raises:
        MemoryError: the picture does not fit into memory.
    """
    width, height = image.size
    short, side = geometry.short, geometry.side
    if min(width, height) != short:
        size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        if max(size) >= _THIN * short and side <= short:
            return np.asarray(_middle(image, size, geometry))
        image = image.resize(size, _FILTERS[geometry.resize])
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    if image.size != (side, side):
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image)


def _middle(image: Image.Image, size: tuple[int, int], geometry: Geometry) -> Image.Image:
    """Return the centre square of an image as it would be after a resize to `size`."""
    side = geometry.side
    (left, right), (top, bottom) = (
        (old * start / new, min(old * (start + side) / new, old))
        for old, new in zip(image.size, size, strict=True)
        for start in (round((new - side) / 2),)
    )
    return image.resize((side, side), _FILTERS[geometry.resize], box=(left, top, right, bottom))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, whose range is not known")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
