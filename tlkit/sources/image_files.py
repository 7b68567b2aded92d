"""Find image files, and check them by their beginning alone: cheap enough for `init` and `plan`. Imports no torch.

The rule: a file that is named here cannot be decoded. One that is not named may still fail: its end is looked at, and nothing between.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from tlkit.errors import DataError, ImageError, first_few
from tlkit.plugin import ImageFile, image_kinds
from tlkit.sources import band_files, libtiff, orientation, pixel_limit
from tlkit.units import Size

OnCorrupt = Literal["error", "skip"]
# Of more files so many are looked at, evenly spread: 10,000 take about a second once they are in the system's cache.
MOST = 10_000
# Bytes that end a file, which are near its end unless something follows them: the EOI marker (ITU T.81, B.1.1.3), the IEND chunk (PNG, 11.2.5).
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_END, _DECODED = 4096, 16  # bytes in which they are looked for; files at most that are decoded because they are not there
_MEASURED = 500  # of the files, to learn how large images are
_SUBFILE, _OLD_SUBFILE, _MASK = 254, 255, 4  # TIFF 6.0, NewSubfileType and SubfileType: bits of the first, values of the second
_REDUCED, _OLD_REDUCED = 1, 2

_lock = threading.Lock()
_opening, _limit, _handler = 0, Image.MAX_IMAGE_PIXELS, None


@contextmanager
def without_limit() -> Iterator[None]:
    """Lift Pillow's limit of pixels for as long as any thread is in this context, and put it back after the last; libtiff is silent.

    Both are one for the whole process, and belong to the program that imports tlkit; `data.max_pixels` belongs to a recipe.
    """
    global _opening, _limit, _handler
    with _lock:
        if not _opening:
            # A number, as it was: Pillow reads it twice where it cuts a picture, and another thread may be between the two.
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, Image.MAX_IMAGE_PIXELS and sys.maxsize
            _handler = libtiff.set_error_handler(None)
        _opening += 1
    try:
        yield
    finally:
        with _lock:
            _opening -= 1
            if not _opening:
                Image.MAX_IMAGE_PIXELS = _limit
                libtiff.set_error_handler(_handler)


def opened(file: ImageFile) -> Image.Image:
    """Open an image file with Pillow, which reads its beginning; HEIF files too, where pi-heif is installed.

    Raises:
        Exception: whatever Pillow raises for a file that is no image.
    """
    with file.open("rb") as beginning:
        if image_kinds.is_heif(beginning.read(16)):
            image_kinds.reads_heif()
    with without_limit():
        return Image.open(file if isinstance(file, Path) else file.open())


def check_pixels(path: os.PathLike[str], image: Image.Image, max_pixels: int, *, raised_by: str = pixel_limit.IN_RECIPE) -> int:
    """Return how many pixels an opened image has; the arguments are as in `pixel_limit.check`.

    Raises:
        ImageError: more than `max_pixels`.
    """
    return pixel_limit.check(path, image.width, image.height, max_pixels, raised_by=raised_by)


def pages(image: Image.Image) -> list[int]:
    """Return the pages of an opened image that are pictures, from 0: several of a TIFF file may be.

    A page is none that its tags call a smaller copy or a mask, that has at most half the height and width of the first, as a
    thumbnail has, or that Pillow cannot read.
    """
    count, found = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1, [0]
    if count == 1:
        return found
    width, height = image.size
    for page in range(1, count):
        with suppress(Exception):  # whatever Pillow raises
            image.seek(page)
            tags: dict[int, int] = image.tag_v2  # type: ignore[attr-defined]  # of TIFF files alone
            extra = tags.get(_SUBFILE, 0) & (_REDUCED | _MASK) or tags.get(_OLD_SUBFILE) == _OLD_REDUCED
            if not extra and (2 * image.width > width or 2 * image.height > height):
                found.append(page)
    image.seek(0)
    return found


def check_pages(path: ImageFile, image: Image.Image) -> None:
    """Refuse an opened TIFF file with several pictures, of which only the first would be seen.

    Raises:
        ImageError: two or more pages count, see `pages`.
    """
    channels, count = len(image.getbands()), len(pages(image))
    if count > 1:
        bands = [f"data.channels = {count}, if they are the bands of one image"] if channels == 1 else []
        raise ImageError(
            f"{path}: is a TIFF file with {count} pictures, one on each page.", *bands, "save each picture as a file of its own"
        )


def below(folder: Path, *, where: str, notify: Callable[[str], None] = lambda _: None, bands: bool = False) -> list[Path]:
    """Return the image files in a folder and below it, by path; what is hidden or no image is left out.

    Args:
        folder: To look in.
        where: Begins the message.
        notify: Called with a line that counts what may hold a picture and cannot be read.
        bands: Images are files of bands, .npy and TIFF.

    Raises:
        DataError: there are none.
    """
    shown = (
        path for path in sorted(folder.rglob("*")) if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    kinds = {
        path: image_kinds.kind_of_bands(path.suffix.lower()) if bands else image_kinds.kind(path)
        for path in shown
        if path.is_file()
    }
    files = [path for path, kind in kinds.items() if kind is image_kinds.Kind.IMAGE]
    left_out = Counter(path.suffix.lower() for path, kind in kinds.items() if kind is image_kinds.Kind.LEFT_OUT)
    said = image_kinds.remark(left_out, bands=bands)
    if not files:
        raise DataError(f"{where}: {folder} holds no image files{' of bands (.npy, .tif)' if bands else ''}.", *said)
    for line in said:
        notify(f"{folder}: {line}")
    return files


def usual_size(files: Sequence[ImageFile], *, bands: int | None = None) -> Size | None:
    """Return a height and a width that nine of ten images do not exceed, turned as their EXIF says; None where none can be read.

    Args:
        files: Image files; the beginning of some of them is read, always of the same.
        bands: How many bands they have; None of colour pictures.
    """
    sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are reported when the files are decoded
        for file in files[:: max(-(-len(files) // _MEASURED), 1)]:
            with suppress(Exception):  # of what Pillow raises; decoding names the file
                if bands is not None:
                    found = band_files.header(Path(file))
                    sizes.append(found.size(band_files.band_axis(Path(file), found, bands)))
                    continue
                with opened(file) as image:
                    sizes.append(orientation.upright_size(image))
    return most(sizes) if sizes else None


def most(sizes: Sequence[Size]) -> Size:
    """Return the height and the width that nine of ten sizes do not exceed."""
    heights, widths = (sorted(sides)[(9 * len(sides) - 1) // 10] for sides in zip(*sizes, strict=True))
    return heights, widths


def unreadable(
    files: Sequence[ImageFile], *, max_pixels: int, on_corrupt: OnCorrupt, bands: int | None = None, values: str = "uint8"
) -> str:
    """Say how many files cannot be read, which, and what `tlkit apply` does about them; "" where all can be.

    Args:
        files: Image files.
        max_pixels: A file with more counts as one that cannot be read.
        on_corrupt: As in the recipe.
        bands: How many bands they have; None of colour pictures.
        values: Type of the bands' values.
    """
    most = MOST if all(isinstance(file, Path) for file in files[:1]) else _MEASURED  # an image in a larger file is read whole
    looked_at = files[:: max(-(-len(files) // most), 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which no picture depends on
        doubts = iter(range(_DECODED))
        problems = [f"{file} ({why})" for file in looked_at for why in _problems(file, max_pixels, bands, values, doubts)]
    if not problems:
        return ""
    counted = f"{len(files):,} files" if len(looked_at) == len(files) else f"{len(looked_at):,} files looked at"
    return f"{len(problems):,} of {counted} cannot be read: {first_few(problems)}; {consequence(on_corrupt)}"


def consequence(on_corrupt: OnCorrupt) -> str:
    """Say what `tlkit apply` does about files that cannot be read."""
    return {
        "error": 'apply stops at them; data.on_corrupt = "skip" leaves them out',
        "skip": 'apply leaves them out, as data.on_corrupt = "skip" says',
    }[on_corrupt]


def _problems(file: ImageFile, max_pixels: int, bands: int | None, values: str, doubts: Iterator[int]) -> Iterator[str]:
    try:
        if not (file.stat().st_size if isinstance(file, Path) else file.size):
            yield "empty"
            return
        if bands is not None:
            band_files.check(Path(file), band_files.header(Path(file)), bands, values=values, max_pixels=max_pixels)
            return
        with opened(file) as image:
            check_pixels(file, image, max_pixels)
            check_pages(file, image)
            if _lacks_end(image) and next(doubts, None) is not None:
                image.load()
    except ImageError as error:
        yield error.problem.removeprefix(f"{file}: ").removesuffix(".")
    except UnidentifiedImageError:
        yield "not an image"
    except OSError as error:
        yield error.strerror or str(error)
    except Exception as error:  # whatever Pillow's decoders raise
        yield str(error)


def _lacks_end(image: Image.Image) -> bool:
    """Return whether what ends a file of this kind is not near its end: then it is cut off, or something else follows it."""
    end, file = _ENDS.get(image.format or ""), getattr(image, "fp", None)
    if end is None or file is None:
        return False
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _END, 0))
    found = end in file.read(_END)
    file.seek(place)
    return not found
