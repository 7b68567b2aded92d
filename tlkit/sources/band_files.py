"""Read images of any number of bands: .npy files and TIFF files. Imports no torch.

The rule: values are taken as they are in the file. A file of another number of bands or type is refused with its path, and what only
pickle could read is never loaded.
"""

from __future__ import annotations

import io
import logging
import math
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, ImageError
from tlkit.plugin import Values, image_kinds
from tlkit.sources import pixel_limit
from tlkit.units import Size

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

Bands = NDArray[Any]  # (H, W, bands) uint8, uint16 or float32

VALUES = get_args(Values)
_PALETTE = 3  # TIFF 6.0, PhotometricInterpretation


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says.

    Attributes:
        shape: Of the array in it.
        values: Type of its values, in numpy's words.
        axes: Places where the axis of the bands may be; () of an array of two axes.
    """

    shape: tuple[int, ...]
    values: str
    axes: tuple[int, ...]

    def size(self, axis: int | None) -> Size:
        """Return height and width, where the bands are on `axis`."""
        height, width = (side for place, side in enumerate(self.shape) if place != axis)
        return height, width


def reads_tiff() -> bool:
    """Return whether TIFF files can be read: tifffile is installed."""
    from importlib.util import find_spec

    return find_spec("tifffile") is not None


def header(path: Path) -> Header:
    """Return what the beginning of a file says. Values are not read.

    Raises:
        ImageError: it is neither, or damaged.
    """
    try:
        if path.suffix.lower() == ".npy":
            return _header_of_array(path, np.load(path, mmap_mode="r", allow_pickle=False))
        with _tiff(path, path) as file:
            return _header_of_tiff(_series(path, file))
    except ImageError:
        raise
    except Exception as error:  # whatever numpy and tifffile raise for a damaged file
        raise _unreadable(path, error) from error


def band_axis(path: Path, found: Header, bands: int) -> int | None:
    """Return the axis of the bands; None for an array of two axes, which is one band.

    Raises:
        ImageError: the file has another number of bands, or several axes are as long.
    """
    shape = " x ".join(map(str, found.shape))
    if len(found.shape) == 2 and bands == 1:
        return None
    if len(found.shape) not in (2, 3):
        raise ImageError(f"{path}: has {len(found.shape)} axes, {shape}, not height, width and bands.")
    fitting = [axis for axis in found.axes if found.shape[axis] == bands]
    if len(fitting) > 1:
        raise ImageError(
            f"{path}: is {shape}: the first or the last axis may be that of the {bands} bands.",
            "write the bands as pages of a TIFF file, or cut the picture to another height and width",
        )
    if not fitting:
        counts = [found.shape[axis] for axis in found.axes] or [1]
        have = " or ".join(map(str, dict.fromkeys(counts)))
        raise ImageError(
            f"{path}: has {have} band{'' if have == '1' else 's'} ({shape}), and data.channels is {bands}.",
            "(height, width, bands) or (bands, height, width)" if path.suffix.lower() == ".npy" else "",
        )
    return fitting[0]


def read(
    path: Path, content: bytes, bands: int, *, values: str, max_pixels: int, raised_by: str = pixel_limit.IN_RECIPE
) -> Bands:
    """Return the content of a file as (H, W, bands), in this machine's byte order.

    Args:
        path: The file, for messages and for its suffix.
        content: Its bytes.
        bands: That it must have.
        values: The type that its values must have.
        max_pixels: A file with more is refused.
        raised_by: As in `pixel_limit.check`.

    Raises:
        ImageError: it is damaged, of another number of bands, another type or more pixels, or holds values that are no numbers.
        MemoryError: it does not fit into memory.
    """
    right = partial(check, bands=bands, values=values, max_pixels=max_pixels, raised_by=raised_by)
    try:
        if path.suffix.lower() == ".npy":
            _refuse_cut(path, content)
            array = np.load(io.BytesIO(content), allow_pickle=False)
            axis = right(path, _header_of_array(path, array))
        else:
            with _tiff(path, io.BytesIO(content)) as file:
                series = _series(path, file)
                axis = right(path, _header_of_tiff(series))
                array = series.asarray()
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # likewise
        raise _unreadable(path, error) from error
    array = array[:, :, None] if axis is None else np.moveaxis(array, axis, -1)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not (finite := np.isfinite(array).all(axis=(0, 1))).all():
        wrong = np.flatnonzero(~finite) + 1
        raise ImageError(
            f"{path}: band {', '.join(map(str, wrong[:5].tolist()))}{' and others' if len(wrong) > 5 else ''} of {bands} holds values "
            "that are no finite numbers (NaN or infinity).",
            "write a number in their place, such as the band's mean",
        )
    return array


def check_values(path: Path, found: Header, values: str = "") -> Values:
    """Return the type of a file's values.

    Raises:
        ImageError: tlkit reads no such type, or it is not the one that is wanted.
    """
    if found.values not in VALUES:
        raise ImageError(
            f"{path}: holds {found.values}; uint8, uint16 and float32 are read.", 'array.astype("float32") is usually right'
        )
    if values and found.values != values:
        raise ImageError(
            f"{path}: holds {found.values}, and the other images {values}.", "all images of a data set have values of one type"
        )
    return cast(Values, found.values)


def check(
    path: Path, found: Header, bands: int, *, values: str, max_pixels: int, raised_by: str = pixel_limit.IN_RECIPE
) -> int | None:
    """Return the axis of the bands, as `band_axis`.

    Args:
        path: The file, for messages.
        found: Its header.
        bands: That it must have.
        values: The type that its values must have.
        max_pixels: A file with more is refused.
        raised_by: As in `pixel_limit.check`.

    Raises:
        ImageError: the file is another one.
    """
    axis = band_axis(path, found, bands)
    check_values(path, found, values)
    height, width = found.size(axis)
    if not height * width:
        raise ImageError(f"{path}: is {height} x {width}: there is no pixel in it.")
    pixel_limit.check(path, width, height, max_pixels, raised_by=raised_by)
    return axis


def values_of(pixels: NDArray[Any]) -> Values:
    """Return the type of the values of images in memory.

    Raises:
        DataError: tlkit reads no such type.
    """
    types = {each.dtype.name for each in pixels} if pixels.dtype == object else {pixels.dtype.name}
    if len(types) > 1 or not types <= set(VALUES):
        shown = " and ".join(sorted(types))
        raise DataError(f"images: are {shown}; images of bands are all uint8, uint16 or float32.", 'x.astype("float32")')
    return cast(Values, types.pop())


def _header_of_array(path: Path, array: object) -> Header:
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{path}: is an archive of arrays (.npz), not one array.", "numpy.save writes one")
    last = array.ndim - 1
    return Header(array.shape, array.dtype.newbyteorder("=").name, tuple(dict.fromkeys((0, last))) if array.ndim > 2 else ())


def _refuse_cut(path: Path, content: bytes) -> None:
    """Refuse an array that says it is larger than its file: room for all of it would be taken before its end is missed."""
    stream = io.BytesIO(content)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = read[np.lib.format.read_magic(stream)](stream)
    except (KeyError, ValueError):  # numpy.load says what is wrong with it
        return
    there, said = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if there < said and not dtype.hasobject:
        raise ImageError(f"{path}: cannot be decoded: it is cut off, and holds {there:,} of {said:,} bytes.")


def _tiff(path: Path, source: Path | io.BytesIO) -> TiffFile:
    if image_kinds.kind_of_bands(path.suffix.lower()) is not image_kinds.Kind.IMAGE:
        raise ImageError(
            f"{path}: is no {' or '.join(image_kinds.BAND_SUFFIXES)} file.", "data.channels is for images of bands"
        )
    if not reads_tiff():
        raise ImageError(f"{path}: is a TIFF file of bands, which needs tifffile to be read.", "pip install tlkit[spectral]")
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it logs is raised too, or of no consequence
    return tifffile.TiffFile(source)


def _series(path: Path, file: TiffFile) -> TiffPageSeries:
    """Return the one image of a TIFF file; smaller copies of it beside it do not count."""
    if _is_ring(file):  # tifffile would follow it for ever
        raise ImageError(f"{path}: is damaged: its pages lead back to one that came before.")
    if not file.series:
        raise ImageError(f"{path}: holds no image.")
    first, *others = file.series
    if any(not each.keyframe.is_reduced for each in others):
        raise ImageError(f"{path}: holds images of several sizes or types, not the bands of one.")
    if first.keyframe.photometric == _PALETTE:
        raise ImageError(f"{path}: holds places in a palette of colours, not values of bands.")
    return first


def _is_ring(file: TiffFile) -> bool:
    """Return whether the pages of a TIFF file lead back to one before. Their tags are not read: for 13 pages that takes a millisecond."""
    handle, form, seen = file.filehandle, file.tiff, set[int]()
    first = next(iter(file.pages), None)
    offset = 0 if first is None else first.offset
    while 0 < offset < handle.size:
        if offset in seen:
            return True
        seen.add(offset)
        try:
            handle.seek(offset)
            (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
            handle.seek(offset + form.tagnosize + tags * form.tagsize)
            (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
        except (struct.error, OSError):  # cut off; tifffile reads what is before
            break
    return False


def _header_of_tiff(series: TiffPageSeries) -> Header:
    """Return the header of a TIFF file: its tags say which axis the bands are on, unless tifffile wrote an array as it came."""
    shape, axes = tuple(map(int, series.shape)), series.axes
    others = tuple(place for place, name in enumerate(axes) if name not in "YX")
    if series.kind == "shaped" and axes == "QYX":
        others = (0, 2)
    return Header(shape, np.dtype(series.dtype).newbyteorder("=").name, others)


def _unreadable(path: Path, error: Exception) -> ImageError:
    """Return the error for what numpy or tifffile could not read."""
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path}: there is no such file.")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{path}: is a folder.", "name the image files in it")
    text = str(error)
    if "pickled (object) data" in text:  # so says numpy of every file that does not begin as an array
        return ImageError(f"{path}: is no .npy file: it does not begin as one.", "numpy.save of an array of numbers")
    if "Python objects" in text or "Object arrays" in text:
        return ImageError(
            f"{path}: holds Python objects (pickle), which are never loaded.", "numpy.save of an array of numbers"
        )
    if "imagecodecs" in text:
        return ImageError(f"{path}: cannot be decoded: {text.rstrip('.')}.", "pip install tlkit[spectral]")
    what = text.strip().splitlines()[0].rstrip(".") if text.strip() else type(error).__name__
    return ImageError(f"{path}: cannot be decoded: {what}.")
