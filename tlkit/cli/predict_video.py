"""The command predict, of videos and a run that gives classes: those of each frame and of the whole video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console, predictions_file
from tlkit.cli.predict_classes import Ranked, Shown
from tlkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlkit.run.prediction import Predictor

_COLUMNS = ("image", "frame", "seconds")


def predict(
    predictor: Predictor, paths: Sequence[Path], *, every: int, shown: Shown, views: int, csv: Path | None, as_json: bool
) -> None:
    """Print the classes of each video, whose probabilities are the mean of its frames', and write those of each frame.

    Args:
        predictor: The run's network.
        paths: The videos.
        every: Look at the first of every so many frames.
        shown: Which classes are shown.
        views: Of each frame, whose probabilities are averaged.
        csv: The file that gets a row for each frame; None for no file.
        as_json: Print JSON, with the frames.
    """
    import numpy as np

    from tlkit import files
    from tlkit.run import torch_settings, video_prediction

    video_prediction.refuse_bands(predictor)
    frames: list[dict[str, Any]] = []
    videos: list[tuple[str, int, Ranked]] = []
    failed: list[DataError] = []
    with (
        torch_settings.applied(predictor.device),
        console.counting("predicting") as progress,
        predictions_file.written(csv, shown.width(predictor), _COLUMNS) as file,
    ):
        for done, path in enumerate(paths, start=1):
            name = files.shown(path)
            found: list[NDArray[np.float32]] = []
            answers = video_prediction.answers(predictor, path, every=every, temperature=shown.temperature, views=views)
            try:
                for answer in answers:
                    found.append(answer.probabilities)
                    classes = shown.of(predictor, answer.probabilities)
                    if file is not None:
                        file.add((name, str(answer.number), f"{answer.seconds:.6g}"), classes)
                    if as_json:
                        frames.append(_frame(name, answer.number, answer.seconds, dict(classes)))
            except DataError as error:
                failed.append(error)
                if file is not None:
                    file.add((name, "", ""), [], str(error))
                frames.append(_frame(name, error=str(error)))
            else:
                videos.append((name, len(found), shown.of(predictor, np.mean(found, axis=0))))
            progress(done, len(paths))
    if as_json:
        whole = [{"video": name, "frames": count, "probabilities": dict(classes)} for name, count, classes in videos]
        console.as_json({"format": 2, **shown.record(views), "predictions": frames, "videos": whole})
    elif videos:
        _print(videos, csv)
    console.tell_failed(failed, some_done=bool(videos))


def _frame(
    name: str, number: int | None = None, seconds: float | None = None, probabilities: Mapping[str, float] | None = None,
    error: str | None = None,
) -> dict[str, object]:  # fmt: skip
    """Return a frame's row of the JSON, or that of a video that cannot be read."""
    return {"image": name, "frame": number, "seconds": seconds, "probabilities": probabilities or {}, "error": error}


def _print(videos: Sequence[tuple[str, int, Ranked]], csv: Path | None) -> None:
    """Print the classes of each video, which has so many frames."""
    from tlkit.reports import tables

    console.show(tables.predictions((name, classes) for name, _, classes in videos))
    looked = sum(count for _, count, _ in videos)
    console.line(f"probabilities of a video are the mean of its frames', {looked:,} in all")
    if csv is not None:
        console.line(f"{csv}: written, a row for each frame")
