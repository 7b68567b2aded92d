"""Read masks: the class number of every pixel of a picture, from image files. Imports no torch.

The rule: a value that is no class is refused with the path of its file; nothing is guessed.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tlkit.errors import ImageError, first_few
from tlkit.plugin.masks import IGNORED, Colour, MaskFile
from tlkit.sources import orientation, polygons, scaling
from tlkit.sources.image_files import without_limit
from tlkit.units import Size

Mask = NDArray[np.uint8]  # (H, W), class numbers, IGNORED for pixels that count for nothing

_VALUES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one whole number for each pixel
_BRIGHT = 128  # of 255: inside the field of view


def read(mask: MaskFile, *, classes: int, size: Size | None = None, ignore: int = IGNORED) -> Mask:
    """Return the classes of a picture's pixels (H, W).

    Args:
        mask: Where they are.
        classes: Number of classes.
        size: Height and width of the picture; None where it is not known.
        ignore: Value of pixels that count for nothing, where it is not that of a class.

    Raises:
        ImageError: a file cannot be read, is of another size than the picture, or holds a value that is no class.
    """
    if mask.coding.shapes:
        found = polygons.drawn(mask.path, _content(mask.path), mask.coding)
    else:
        image = _opened(mask.path)
        found = _of_colours(mask, image) if mask.coding.colours else _of_values(mask, image, ignore)
    _refuse_size(mask.path, found.shape, size, what="its picture")
    wrong = np.unique(found[(found >= classes) & (found != IGNORED)])
    if len(wrong):
        raise ImageError(
            f"{mask.path}: holds the value {first_few(map(str, wrong.tolist()))}, which is no class.",
            f"classes are 0 to {classes - 1}, and {IGNORED} is ignored",
        )
    if mask.field_of_view is not None:
        inside = measured_field_of_view if mask.measured else field_of_view
        found[~inside(mask.field_of_view, size=found.shape)] = IGNORED
    return found


def field_of_view(path: Path, *, size: Size | None = None) -> NDArray[np.bool_]:
    """Return where a camera saw something (H, W), from an image that is bright there.

    Raises:
        ImageError: it cannot be read, is of another size than `size`, or is dark everywhere.
    """
    bright = np.asarray(_opened(path).convert("L"))
    _refuse_size(path, bright.shape, size, what="the mask that it belongs to")
    inside = bright >= _BRIGHT if bright.max(initial=0) > 1 else bright > 0
    if not inside.any():
        raise ImageError(f"{path}: is dark everywhere, and says that the camera saw nothing.")
    return inside


def measured_field_of_view(path: Path, *, size: Size | None = None) -> NDArray[np.bool_]:
    """Return where a picture (H, W) shows what the camera saw: its bright disc, with what is dark inside it.

    Raises:
        ImageError: it cannot be read, is of another size than `size`, or is dark everywhere.
    """
    from scipy import ndimage

    picture = _opened(path)
    _refuse_size(path, (picture.height, picture.width), size, what="the mask that it belongs to")
    try:
        inside: NDArray[np.bool_] = ndimage.binary_fill_holes(scaling.bright(picture))
    except ImageError as error:
        raise ImageError(f"{path}: {error.problem}") from error
    return inside


def digest(mask: MaskFile) -> bytes:
    """Return a digest, 32 bytes, of everything that determines a mask.

    Raises:
        ImageError: a file cannot be read.
    """
    parts = [content_digest(path) for path in (mask.path, mask.field_of_view) if path is not None]
    return sha256(b"".join([described(mask).encode(), *parts])).digest()


def described(mask: MaskFile) -> str:
    """Return everything that determines a mask but the content of its files, as text."""
    coding = mask.coding
    return repr(
        [
            sorted(coding.values.items()),
            sorted(coding.colours.items()),
            sorted(coding.shapes.items()),
            coding.rest,
            mask.measured,
        ]
    )


def content_digest(path: Path) -> bytes:
    """Return a digest, 32 bytes, of what a file holds.

    Raises:
        ImageError: it cannot be read.
    """
    return sha256(_content(path)).digest()


def _of_values(mask: MaskFile, image: Image.Image, ignore: int) -> Mask:
    if image.mode in _VALUES:
        values = np.asarray(image).astype(np.int64)
    else:
        channels = np.asarray(image.convert("RGB"))
        values = channels[:, :, 0].astype(np.int64)
        if (channels != channels[:, :, :1]).any():
            raise ImageError(
                f"{mask.path}: is a picture of colours, and its classes are given as values.", "give the colour of each class"
            )
    known = {ignore: IGNORED} | dict(mask.coding.values)
    if not mask.coding.values:
        known = {value: value for value in range(IGNORED + 1)} | known
    return _coded(mask, values, known, shown=str)


def _of_colours(mask: MaskFile, image: Image.Image) -> Mask:
    channels = np.asarray(image.convert("RGB")).astype(np.int64)
    codes = {_code(colour): number for colour, number in mask.coding.colours.items()}
    return _coded(mask, (channels << (16, 8, 0)).sum(2), codes, shown=lambda code: f"#{code:06x}")


def _coded(mask: MaskFile, values: NDArray[np.int64], known: dict[int, int], *, shown: Callable[[int], str]) -> Mask:
    """Return the class numbers of values (H, W)."""
    there, place = np.unique(values, return_inverse=True)
    rest = mask.coding.rest
    wrong = [value for value in there.tolist() if value not in known]
    if wrong and rest is None:
        raise ImageError(
            f"{mask.path}: holds {first_few(map(shown, wrong))}, which is no class.",
            f"known: {first_few(map(shown, known))}",
        )
    numbers = np.array([known.get(value, rest) for value in there.tolist()], dtype=np.uint8)
    coded: Mask = numbers[place].reshape(values.shape)
    return coded


def _code(colour: Colour) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def _refuse_size(path: Path, found: tuple[int, ...], wanted: Size | None, *, what: str) -> None:
    if wanted is not None and found != wanted:
        raise ImageError(
            f"{path}: has {found[1]} x {found[0]} pixels, and {what} has {wanted[1]} x {wanted[0]}.",
            "a mask has as many pixels as its picture",
            "pictures are turned as their EXIF data say; turn the mask as well" if found == (wanted[1], wanted[0]) else "",
        )


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file.", "every picture needs its mask") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"{path}: cannot be read: {error}.") from error


def _opened(path: Path) -> Image.Image:
    content = _content(path)
    try:
        with without_limit():
            image = Image.open(io.BytesIO(content))
            image.load()
            return orientation.upright(image, orientation.of(image))
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not an image.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise ImageError(f"{path}: cannot be decoded: {error}.") from error
