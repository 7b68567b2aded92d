"""The command predict, of a run whose pictures have a class for every pixel: masks as files, and the share of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor


def threshold_of(folder: Path, given: float | None) -> float | None:
    """Return the probability from which on a pixel is of the second of two classes: the one given, or the run's own."""
    from tlkit.run import mask_prediction

    return mask_prediction.chosen_threshold(folder) if given is None else given


def predict(
    predictor: Predictor, paths: Sequence[Path], *, out: Path, threshold: float | None, probabilities: bool, tile: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the masks of pictures, and print which part of each picture every class has."""
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import mask_prediction, torch_settings

    rows: list[dict[str, Any]] = []
    failed: list[DataError] = []
    names = predictions_file.names(paths)
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for path, name in zip(paths, names, strict=True):
            try:
                found = predictor.mask(path, threshold=threshold, tile=tile)
            except DataError as error:
                failed.append(error)
                rows.append({"image": files.shown(path), "shares": {}, "error": str(error)})
            else:
                written = mask_prediction.write(found, out, name, probabilities=probabilities)
                shares = dict(found.shares(predictor.classes))
                rows.append({"image": files.shown(path), "shares": shares, **written, "error": None})
            progress(len(rows), len(paths))
    answered = [row for row in rows if row["error"] is None]
    if as_json:
        chosen = {} if threshold is None or len(predictor.classes) != 2 else {"threshold": threshold}
        console.as_json({"format": 1, **chosen, "predictions": rows})
    elif answered:
        console.show(tables.predictions((row["image"], list(row["shares"].items())) for row in answered))
        console.line(f"{out}: the mask and the overlay of {len(answered):,} of {len(rows):,} images are written")
    console.tell_failed(failed, some_done=bool(answered))
