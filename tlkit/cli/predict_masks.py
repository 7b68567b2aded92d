"""The command predict, of a run whose pictures have a class for every pixel: masks as files, and the share of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.cli import console
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor


def predict(
    predictor: Predictor, folder: Path, paths: Sequence[Path], *, out: Path, threshold: float | None, probabilities: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the masks of pictures, and print which part of each picture every class has."""
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import mask_prediction, torch_settings

    least = mask_prediction.chosen_threshold(folder) if threshold is None else threshold
    rows: list[dict[str, Any]] = []
    failed: list[DataError] = []
    names = names_of(paths)
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for path, name in zip(paths, names, strict=True):
            try:
                found = predictor.mask(path, threshold=least)
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
        chosen = {} if least is None or len(predictor.classes) != 2 else {"threshold": least}
        console.as_json({"format": 1, **chosen, "predictions": rows})
    elif answered:
        console.show(tables.predictions((row["image"], list(row["shares"].items())) for row in answered))
        console.line(f"{out}: the mask and the overlay of {len(answered):,} of {len(rows):,} images are written")
    console.tell_failed(failed, some_done=bool(answered))


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return what the files of each picture begin with: its name, with a number where two pictures have the same."""
    taken: dict[str, int] = {}
    names = []
    for path in paths:
        seen = taken[path.stem] = taken.get(path.stem, 0) + 1
        names.append(path.stem if seen == 1 else f"{path.stem}-{seen}")
    return names
