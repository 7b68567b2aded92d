"""Decode image files as RGB, or as bands.

The rule: an image that cannot be decoded is an error with its path, never a picture of something else.
"""

from __future__ import annotations

import hashlib
import io
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tlkit.engine.images import being_decoded, levels
from tlkit.engine.images.geometry import Geometry, Pixels, fitted
from tlkit.engine.images.levels import Levels, UnknownRange
from tlkit.errors import ImageError, option
from tlkit.plugin import Convention, ImageFile, image_kinds
from tlkit.recipe.tables import MAX_PIXELS, DataTable
from tlkit.sources import band_files, orientation, stacks
from tlkit.sources.image_files import check_pages, check_pixels, without_limit
from tlkit.sources.pixel_limit import IN_RECIPE
from tlkit.units import Size

# Above so many pixels, Pillow's own limit, files are decoded one at a time, JPEG at a reduced size.
_LARGE = 89_478_485
# Such a JPEG is decoded at no less than so many times the size that it is resized to, as Pillow's `reducing_gap` of thumbnails.
_REDUCING_GAP = 3

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how they begin: TIFF 6.0, section 2; the last two are BigTIFF

_RANGE = "data.options.range says which value is white: 4095 for 12 bits, 65535 for 16, or [black, white]"

_one_large = threading.Lock()


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
    path: stacks.Picture,
    *,
    digest: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
    raised_by: str = IN_RECIPE,
    needed: Size | None = None,
    white: Levels | None = None,
) -> Image.Image:
    """Read an image file as RGB, turned as its EXIF says, transparency on white.

    Args:
        path: The file, or a page of a stack.
        digest: The beginning of the sha256 that its content must have.
        max_pixels: A file with more is refused.
        raised_by: As in `pixel_limit.check`.
        needed: The size that the picture is resized to; None where it depends on the file's. A JPEG file of more than 89 million pixels
            is decoded at 1/2, 1/4 or 1/8 of its size where that is at least three times this; all other files are decoded whole.
        white: Values of black and white, if it has more than 8 bits; None where the file says it.

    Raises:
        ImageError: it is no image, truncated, of more than `max_pixels`, a TIFF file with several pictures, of a kind that cannot be
            turned into RGB, of a range that is not known, or of another digest.
        MemoryError: it does not fit into memory.
    """
    try:
        content = b"" if isinstance(path, stacks.Page) else _content(path, digest)
        if image_kinds.is_heif(content[:16]) and not image_kinds.reads_heif():
            raise ImageError(f"{path}: is a HEIF file, which needs pi-heif to be read.", "pip install tlkit[heif]")
        with without_limit(), path.opened() if isinstance(path, stacks.Page) else Image.open(io.BytesIO(content)) as image:
            count = check_pixels(path, image, max_pixels, raised_by=raised_by)
            if not isinstance(path, stacks.Page):
                check_pages(path, image)
            with _one_large if count > _LARGE else nullcontext():
                if count > _LARGE and needed is not None:
                    image.draft("RGB", (_REDUCING_GAP * max(needed), _REDUCING_GAP * max(needed)))  # nothing but JPEG has it
                image.load()
                return orientation.upright(rgb(image, white=white, content=content), orientation.of(image))
    except UnknownRange as error:
        raise ImageError(f"{path}: cannot be decoded: {error}.", _RANGE) from error
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        if content[:4] in _TIFF:
            raise ImageError(
                f"{path}: is a TIFF file that is damaged, or of bands in place of colours; k bands are read with data.channels = k."
            ) from error
        raise ImageError(f"{path}: is not an image.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error


def _content(path: ImageFile, digest: bytes | None) -> bytes:
    """Return the bytes of a file, which must have a digest that begins so."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder.", "name the image files in it") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error
    if digest is not None and not hashlib.sha256(content).digest().startswith(digest):
        hint = f"run the same again, with {option('verify', True)} if it says so again"
        raise ImageError(f"{path}: changed while it was read.", hint)
    return content


def picture(source: stacks.Picture | Pixels, geometry: Geometry, *, digest: bytes | None = None) -> Pixels:
    """Return a file, of a digest where one is given, or an array, brought to size: (height, width, 3) uint8, or (height, width, bands).

    Raises:
        ImageError: as `decode`.
        MemoryError: the picture does not fit into memory.
    """
    return fitted(whole(source, geometry, digest=digest), geometry)


def whole(source: stacks.Picture | Pixels, geometry: Geometry, *, digest: bytes | None = None) -> Image.Image | Pixels:
    """Return the image that `picture` brings to size, of bands as an array; the arguments and errors are the same."""
    if isinstance(source, np.ndarray):
        return source if geometry.bands is not None else Image.fromarray(np.ascontiguousarray(source))
    with being_decoded.named(source):
        return _read(source, geometry, digest)


def _read(source: stacks.Picture, geometry: Geometry, digest: bytes | None) -> Image.Image | Pixels:
    if geometry.bands is not None:
        if isinstance(source, stacks.Page):
            raise ImageError(f"{source}: is a page of a stack, and the network takes bands.", "a file for each image")
        content = _content(source, digest)
        return band_files.read(
            Path(source), content, geometry.bands, values=geometry.values, max_pixels=geometry.max_pixels,
            raised_by=geometry.raised_by,
        )  # fmt: skip
    needed = None if geometry.fit == "canvas" else geometry.resized  # what is on a canvas is a multiple of the file's size
    return decode(
        source, digest=digest, max_pixels=geometry.max_pixels, raised_by=geometry.raised_by, needed=needed, white=geometry.white
    )


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
