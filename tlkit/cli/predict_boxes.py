"""The command predict, of a run that finds objects: pictures with boxes, the objects of each picture, and COCO's results as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor


def predict(predictor: Predictor, paths: Sequence[Path], *, out: Path, threshold: float | None, as_json: bool) -> None:
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
        categories = [{"id": number, "name": name} for number, name in enumerate(predictor.classes, start=1)]
        console.as_json({"format": 1, "images": images, "categories": categories, "results": results})
    elif rows:
        console.show(tables.objects(rows))
        console.line(f"{out}: {len(rows):,} of {len(paths):,} images are written with their boxes")
    console.tell_failed(failed, some_done=bool(rows))


def _numbers(paths: Sequence[Path]) -> list[int]:
    """Return the number of each picture in the results: that of its name where all names are numbers, as COCO's are, else its place from 1."""
    named = [int(path.stem) for path in paths if path.stem.isdecimal()]
    return named if len(set(named)) == len(paths) else list(range(1, len(paths) + 1))
