"""The command predict, of a run that finds objects: pictures with boxes, the objects of each picture, and COCO's results as JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor
    from tlkit.sources.stacks import Page


def predict(predictor: Predictor, paths: Sequence[Path | Page], *, out: Path, threshold: float | None, as_json: bool) -> None:
    """Write pictures with their boxes, and print how many objects of each class every picture has.

    The JSON has every object with a score of `threshold` and above, by default 0.05, and `results` of it are as COCO's tools read them.
    """
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import box_prediction, torch_settings
    from tlkit.tasks import box_metrics

    shown = box_metrics.SURE if threshold is None else threshold
    least = 0.0 if threshold is None and as_json else shown
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    rows: list[tuple[str, list[tuple[str, int]]]] = []
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for number, path, name in zip(_numbers(paths), paths, predictions_file.names(paths), strict=True):
            try:
                found = predictor.objects(path, least=least)
            except DataError as error:
                failed.append(error)
                images.append({"id": number, "file_name": files.shown(path), "error": str(error)})
            else:
                written = box_prediction.write(found, predictor.classes, out, name, least=shown)
                height, width = found.size
                said = {"width": width, "height": height, "picture": written, "error": None}
                images.append({"id": number, "file_name": files.shown(path), **said})
                results += found.results(number)
                rows.append((files.shown(path), found.counted(predictor.classes)))
            progress(len(images), len(paths))
    if as_json:
        _as_json(predictor, images, results)
    elif rows:
        console.show(tables.objects(rows))
        console.line(f"{out}: {len(rows):,} of {len(paths):,} images are written with their boxes")
    console.tell_failed(failed, some_done=bool(rows))


def predict_videos(
    predictor: Predictor, paths: Sequence[Path], *, every: int, out: Path, threshold: float | None, as_json: bool
) -> None:
    """Write videos with the boxes of their frames, and print how many objects of each class all frames of a video have.

    The JSON is that of pictures, where each frame is an image, and has the `videos`.
    """
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings, video_prediction
    from tlkit.tasks import box_metrics

    video_prediction.refuse_bands(predictor)
    shown = box_metrics.SURE if threshold is None else threshold
    least = 0.0 if threshold is None and as_json else shown
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    rows: list[tuple[str, list[tuple[str, int]]]] = []
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for path, name in zip(paths, predictions_file.names(paths), strict=True):
            overlay, counts = out / f"{name}-overlay.mp4", Counter[str]()
            try:
                answers = video_prediction.write_boxes(predictor, path, overlay, shown=shown, least=least, every=every)
            except DataError as error:
                failed.append(error)
                videos.append({"video": files.shown(path), "frames": 0, "overlay": None, "error": str(error)})
            else:
                for frame, found in answers:
                    at = {
                        "id": len(images) + 1,
                        "file_name": files.shown(path),
                        "frame": frame.number,
                        "seconds": frame.seconds,
                    }
                    images.append({**at, "height": found.size[0], "width": found.size[1]})
                    results += found.results(len(images))
                    counts.update(dict(found.counted(predictor.classes)))
                videos.append({"video": files.shown(path), "frames": len(answers), "overlay": str(overlay), "error": None})
                rows.append((files.shown(path), counts.most_common()))
            progress(len(videos), len(paths))
    if as_json:
        _as_json(predictor, images, results, videos=videos)
    elif rows:
        console.show(tables.objects(rows))
        console.line(
            f"{out}: {len(rows):,} of {len(paths):,} videos are written with their boxes; objects are those of all frames"
        )
    console.tell_failed(failed, some_done=bool(rows))


def _as_json(predictor: Predictor, images: Sequence[object], results: Sequence[object], **more: Sequence[object]) -> None:
    categories = [{"id": number, "name": name} for number, name in enumerate(predictor.classes, start=1)]
    console.as_json({"format": 1, "images": images, "categories": categories, "results": results, **more})


def _numbers(paths: Sequence[os.PathLike[str]]) -> list[int]:
    """Return the number of each picture in the results: that of its name where all names are numbers, as COCO's are, else its place from 1."""
    named = [int(stem) for stem in (Path(path).stem for path in paths) if stem.isdecimal()]
    return named if len(set(named)) == len(paths) else list(range(1, len(paths) + 1))
