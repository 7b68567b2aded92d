"""Turn images as their EXIF data say, and tell their size after that. Imports no torch."""

from __future__ import annotations

from PIL import ExifTags, Image, TiffImagePlugin

from tlkit.units import Size

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
_SIDEWAYS = (5, 6, 7, 8)  # height and width are exchanged


def of(image: Image.Image) -> int:
    """Return how an opened image is to be turned, as its EXIF data says: 1 to 8; 1 where they are missing or damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises; the pixels are sound all the same
        return 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """Return an image turned as `of` says."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def upright_size(image: Image.Image) -> Size:
    """Return the height and width of an opened image after it is turned; Pillow tells those of TIFF files turned already."""
    sideways = of(image) in _SIDEWAYS and not isinstance(image, TiffImagePlugin.TiffImageFile)
    return (image.width, image.height) if sideways else (image.height, image.width)
