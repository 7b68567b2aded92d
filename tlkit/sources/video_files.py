"""Videos: their frames as pixels, and a video of changed frames. PyAV reads and writes them (`pip install tlkit[video]`). Imports no torch.

The rule: a video is decoded frame by frame, so none is in memory whole; a broken one is named with the frame that it breaks at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
"""Suffixes, in lower case, of the files that are taken for videos."""

_RATE = Fraction(25)  # frames a second of a video that does not say how many it has
_SLOWEST = Fraction(1, 1001)  # frames a second of a file that is written
_AGAIN = "copy or convert it again"
_CODECS = ("libx264", "mpeg4")  # the first that this build of PyAV has writes videos

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: Its place in the video, from 0.
        seconds: Its time from the video's beginning.
        pixels: (H, W, 3) uint8 RGB, turned as the video says.
    """

    number: int
    seconds: float
    pixels: Pixels


def is_video(path: Path) -> bool:
    """Return whether a file is taken for a video, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def frames(path: Path, *, every: int = 1) -> Iterator[Frame]:
    """Return frames of a video, in order; each is decoded when it is asked for.

    Args:
        path: The video.
        every: Return the first of every so many.

    Raises:
        DataError: PyAV is not installed, or the file is no video, is broken, or has no frames.
    """
    return (_frame(number, decoded) for number, decoded in enumerate(_decoded(path)) if number % every == 0)


def rate(path: Path) -> Fraction:
    """Return how many frames a second a video has.

    Raises:
        DataError: as `frames`.
    """
    av = _library(path)
    try:
        with av.open(str(path)) as container:
            return Fraction(container.streams.video[0].average_rate or _RATE) if container.streams.video else _RATE
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a video: {getattr(error, 'strerror', None) or error}.") from error


def even(path: Path, count: int) -> list[Frame]:
    """Return so many frames at even distances of a video, the middle of each part; all of a video that has fewer.

    The video is decoded twice, because only decoding tells how many frames it has.

    Raises:
        DataError: as `frames`.
    """
    whole = sum(1 for _ in _decoded(path))
    wanted = {(2 * part + 1) * whole // (2 * count) for part in range(count)}
    return [_frame(number, decoded) for number, decoded in enumerate(_decoded(path)) if number in wanted]


def versions() -> dict[str, str]:
    """Return the versions of what decodes videos, on which the pixels of a frame may depend."""
    av = _library(None)
    parts = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"av": av.__version__, **{name: parts[name] for name in ("libavcodec", "libswscale") if name in parts}}


class Writer:
    """Writes a video of frames of one size; an odd height or width loses its last row or column, which the codec cannot have.

    Args:
        file: Open for writing, and for seeking.
        size: Height and width of the frames.
        rate: Frames a second.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], rate: Fraction) -> None:
        av = _library(None)
        codec = next(name for name in _CODECS if name in av.codecs_available)
        self._av, self._size = av, (max(size[0] // 2 * 2, 2), max(size[1] // 2 * 2, 2))
        self._container = av.open(file, "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=max(rate.limit_denominator(1001), _SLOWEST))
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"

    def add(self, pixels: Pixels) -> None:
        """Write a frame (H, W, 3) uint8 RGB."""
        height, width = self._size
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


@contextlib.contextmanager
def writing(file: BinaryIO, size: tuple[int, int], rate: Fraction) -> Iterator[Writer]:
    """Open a `Writer`, which is closed where nothing failed."""
    writer = Writer(file, size, rate)
    yield writer
    writer.close()


def split(paths: Sequence[Path], *, where: str) -> tuple[list[Path], list[Path]]:
    """Return the images and the videos among files; both at once are refused.

    Raises:
        DataError: there are both.
    """
    videos = [path for path in paths if is_video(path)]
    images = [path for path in paths if not is_video(path)]
    if videos and images:
        raise DataError(f"{where}: {videos[0]} is a video and {images[0]} is an image.", "predict one kind at a time")
    return images, videos


def _decoded(path: Path) -> Iterator[Any]:
    """Yield the frames of a video as PyAV has them."""
    av, count = _library(path), 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise _without_pictures(path, sound=bool(container.streams.audio))
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # on a busy machine threads of a decoder wait for each other
            for frame in container.decode(stream):
                yield frame
                count += 1
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        where = f"is broken after {count:,} frames" if count else "cannot be read as a video"
        raise DataError(f"{path}: {where}: {why}.", _AGAIN) from error
    if not count:
        raise DataError(f"{path}: has no frames; it may be cut off.", _AGAIN)


def _without_pictures(path: Path, *, sound: bool) -> DataError:
    """Return the error for a file in which there is no video: of an .mp4 that is cut off at its beginning PyAV finds no part at all."""
    if sound:
        return DataError(f"{path}: has no frames: it is a file of sound alone.")
    return DataError(f"{path}: cannot be read as a video: there is none in it; it may be cut off.", _AGAIN)


def _frame(number: int, decoded: Any) -> Frame:
    """Return one of PyAV's frames as pixels, turned as the video says: the rotation is counter-clockwise, in degrees."""
    pixels = np.rot90(decoded.to_ndarray(format="rgb24"), (round(decoded.rotation) // 90) % 4)
    return Frame(number, float(decoded.time or 0.0), np.ascontiguousarray(pixels))


def _library(path: Path | None) -> ModuleType:
    """Return PyAV."""
    try:
        import av
    except ImportError as error:
        what = "videos need" if path is None else f"{path}: is a video, which needs"
        raise DataError(f"{what} PyAV to be read.", "pip install tlkit[video]") from error
    return av


def refuse_size(size: tuple[int, int], frame: Frame, path: Path) -> None:
    """Raise DataError if a frame has another size than the first of its video."""
    if frame.pixels.shape[:2] != size:
        height, width = frame.pixels.shape[:2]
        raise DataError(f"{path}: frame {frame.number:,} has {width} x {height} pixels, the first has {size[1]} x {size[0]}.")
