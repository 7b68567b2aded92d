"""What a finished run's network gives for the frames of a video: classes of each, or a video with masks or boxes over it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.errors import DataError, writable
from tlkit.run import box_prediction, mask_prediction
from tlkit.run.prediction import Predictor
from tlkit.sources import video_files
from tlkit.sources.video_files import Frame


@dataclass(frozen=True)
class FrameAnswer:
    """What the network says of a frame.

    Attributes:
        number: Its place in the video, from 0.
        seconds: Its time from the video's beginning.
        probabilities: (classes,) float32.
    """

    number: int
    seconds: float
    probabilities: NDArray[np.float32]


def refuse_bands(predictor: Predictor) -> None:
    """Raise DataError if the run's network reads bands, which no video has."""
    if predictor.geometry.bands is not None:
        raise DataError(f"predict: the run reads images of {predictor.geometry.bands} bands, and videos have three colours.")


def answers(
    predictor: Predictor, path: Path, *, every: int = 1, temperature: float = 1.0, views: int = 1
) -> Iterator[FrameAnswer]:
    """Yield the class probabilities of a video's frames, computed a batch at a time.

    Args:
        predictor: The run's network.
        path: The video.
        every: Look at the first of every so many frames.
        temperature: What logits are divided by.
        views: Of each frame, whose probabilities are averaged.

    Raises:
        DataError: the video cannot be read to its end; what comes before that is yielded.
    """
    frames = video_files.frames(path, every=every)
    while block := list(itertools.islice(frames, predictor.batch_size)):
        found = predictor.predict([frame.pixels for frame in block], temperature=temperature, views=views)
        for frame, probabilities in zip(block, found, strict=True):
            yield FrameAnswer(frame.number, frame.seconds, probabilities)


def write_overlay(
    predictor: Predictor, path: Path, overlay: Path, *, every: int = 1, threshold: float | None = None
) -> tuple[int, dict[str, float]]:
    """Write a video's frames with their masks over them, as a video that plays as long as the original.

    Args:
        predictor: The run's network.
        path: The video.
        overlay: The file, which ends in .mp4; its folder is made.
        every: Look at the first of every so many frames.
        threshold: Probability from which on a pixel is of the second of two classes; None for 0.5.

    Returns:
        How many frames were looked at, and which part of all their pixels each class has, the largest first.

    Raises:
        DataError: the video cannot be read to its end, and nothing is written.
        TlkitError: the file cannot be written.
    """
    pixels = np.zeros(len(predictor.classes))

    def draw(frame: Frame) -> NDArray[np.uint8]:
        found = predictor.mask(frame.pixels, threshold=threshold)
        pixels[:] += np.bincount(found.mask.ravel(), minlength=len(pixels))
        return mask_prediction.overlay(frame.pixels, found.mask)

    count = _write(path, overlay, draw, every=every)
    shares = zip(predictor.classes, (pixels / pixels.sum()).tolist(), strict=True)
    return count, dict(sorted(shares, key=lambda pair: -pair[1]))


def write_boxes(
    predictor: Predictor, path: Path, overlay: Path, *, shown: float, least: float, every: int = 1
) -> list[tuple[Frame, box_prediction.Answer]]:
    """Write a video's frames with the objects that are found in them, as a video that plays as long as the original.

    Args:
        predictor: The run's network.
        path: The video.
        overlay: The file, which ends in .mp4; its folder is made.
        shown: Score from which on an object is drawn.
        least: Score from which on it is returned.
        every: Look at the first of every so many frames.

    Returns:
        Each frame that was looked at, without its pixels, with its objects.

    Raises:
        DataError: the video cannot be read to its end, and nothing is written.
        TlkitError: the file cannot be written.
    """
    answers: list[tuple[Frame, box_prediction.Answer]] = []

    def draw(frame: Frame) -> NDArray[np.uint8]:
        found = predictor.objects(frame.pixels, least=least)
        answers.append((replace(frame, pixels=frame.pixels[:0].copy()), replace(found, picture=None)))
        return box_prediction.drawn(found, frame.pixels, predictor.classes, least=shown)

    _write(path, overlay, draw, every=every)
    return answers


def _write(path: Path, overlay: Path, draw: Callable[[Frame], NDArray[np.uint8]], *, every: int) -> int:
    """Write a video's frames as `draw` changes them, and return their number; the arguments and errors are those of `write_boxes`."""
    frames, count = video_files.frames(path, every=every), 0
    first = next(frames)
    size = first.pixels.shape[:2]
    with writable(overlay, "another folder: --out"):
        files.make_folder(overlay.parent)
        with (
            files.replacing(overlay) as file,
            video_files.writing(file, size, video_files.rate(path) / every) as writer,
        ):
            for frame in itertools.chain([first], frames):
                video_files.refuse_size(size, frame, path)
                writer.add(draw(frame))
                count += 1
    return count
