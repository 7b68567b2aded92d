"""The command predict, of videos: the classes of frames and of whole videos; of a run that gives masks a video with these over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlkit.run.prediction import Predictor

Ranked = list[tuple[str, float]]  # classes with their probabilities, the most probable first
_COLUMNS = ("image", "frame", "seconds")


def predict_classes(
    predictor: Predictor, paths: Sequence[Path], *, every: int, temperature: float, views: int,
    rank: Callable[[NDArray[np.float32]], Ranked], width: int, csv: Path | None, record: Mapping[str, object], as_json: bool,
) -> None:  # fmt: skip
    """Print the classes of each video, whose probabilities are the mean of its frames', and write those of each frame.

    Args:
        predictor: The run's network.
        paths: The videos.
        every: Look at the first of every so many frames.
        temperature: What logits are divided by.
        views: Of each frame, whose probabilities are averaged.
        rank: From probabilities (classes,) to the classes that are shown.
        width: Number of classes of a row of the CSV file.
        csv: The file that gets a row for each frame; None for no file.
        record: What the JSON says of how classes are shown.
        as_json: Print JSON, with the frames.
    """
    import numpy as np
    from numpy.typing import NDArray

    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings, video_prediction

    video_prediction.refuse_bands(predictor)
    frames: list[dict[str, Any]] = []
    videos: list[tuple[str, int, Ranked]] = []
    failed: list[DataError] = []
    with (
        torch_settings.applied(predictor.device),
        console.counting("predicting") as progress,
        predictions_file.written(csv, width, _COLUMNS) as file,
    ):
        for done, path in enumerate(paths, start=1):
            name, found = files.shown(path), list[NDArray[np.float32]]()
            try:
                for answer in video_prediction.answers(predictor, path, every=every, temperature=temperature, views=views):
                    shown = rank(answer.probabilities)
                    found.append(answer.probabilities)
                    if file is not None:
                        file.add((name, str(answer.number), f"{answer.seconds:.6g}"), shown)
                    if as_json:
                        where = {"image": name, "frame": answer.number, "seconds": answer.seconds}
                        frames.append({**where, "probabilities": dict(shown), "error": None})
            except DataError as error:
                failed.append(error)
                if file is not None:
                    file.add((name, "", ""), [], str(error))
                frames.append({"image": name, "frame": None, "seconds": None, "probabilities": {}, "error": str(error)})
            else:
                videos.append((name, len(found), rank(np.mean(found, axis=0))))
            progress(done, len(paths))
    if as_json:
        whole = [{"video": name, "frames": count, "probabilities": dict(shown)} for name, count, shown in videos]
        console.as_json({"format": 2, **record, "predictions": frames, "videos": whole})
    elif videos:
        console.show(tables.predictions((name, shown) for name, _, shown in videos))
        looked = sum(count for _, count, _ in videos)
        console.line(f"probabilities of a video are the mean of its frames', {looked:,} in all")
        if csv is not None:
            console.line(f"{csv}: written, a row for each frame")
    console.tell_failed(failed, some_done=bool(videos))


def predict_masks(
    predictor: Predictor, paths: Sequence[Path], *, every: int, out: Path, threshold: float | None, as_json: bool
) -> None:
    """Write each video with its masks over it, and print which part of all pixels every class has."""
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings, video_prediction

    video_prediction.refuse_bands(predictor)
    rows: list[dict[str, Any]] = []
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for path, name in zip(paths, predictions_file.names(paths), strict=True):
            shown = files.shown(path)
            try:
                found = video_prediction.write_overlay(
                    predictor, path, out / f"{name}-overlay.mp4", every=every, threshold=threshold
                )
            except DataError as error:
                failed.append(error)
                rows.append({"image": shown, "shares": {}, "error": str(error)})
            else:
                told = {"frames": found.frames, "shares": dict(found.shares), "overlay": str(found.overlay)}
                rows.append({"image": shown, **told, "error": None})
            progress(len(rows), len(paths))
    answered = [row for row in rows if row["error"] is None]
    if as_json:
        chosen = {} if threshold is None or len(predictor.classes) != 2 else {"threshold": threshold}
        console.as_json({"format": 1, **chosen, "predictions": rows})
    elif answered:
        console.show(tables.predictions((row["image"], list(row["shares"].items())) for row in answered))
        console.line(f"{out}: the overlay of {len(answered):,} of {len(rows):,} videos is written")
    console.tell_failed(failed, some_done=bool(answered))
