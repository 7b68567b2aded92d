"""The command predict, of a run whose pictures have a class for every pixel: masks as files, and the share of each class."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError, first_few

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor
    from tlkit.sources.stacks import Page

File = TypeVar("File", bound=os.PathLike[str])


def threshold_of(folder: Path, given: float | None) -> float | None:
    """Return the probability from which on a pixel is of the second of two classes: the one given, or the run's own."""
    from tlkit.run import mask_prediction

    return mask_prediction.chosen_threshold(folder) if given is None else given


def predict(
    predictor: Predictor, paths: Sequence[Path | Page], *, out: Path, threshold: float | None, probabilities: bool, tile: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the masks of pictures, and print which part of each picture every class has."""
    from tlkit.run import mask_prediction

    def write(path: Path | Page, name: str) -> Mapping[str, object]:
        found = predictor.mask(path, threshold=threshold, tile=tile)
        written = mask_prediction.write(found, out, name, probabilities=probabilities)
        return {"shares": dict(found.shares(predictor.classes)), **written}

    def said(count: str) -> str:
        return f"the mask and the overlay of {count} images are written; {_values(predictor.classes, threshold)}"

    _each(predictor, paths, write, out=out, threshold=threshold, said=said, as_json=as_json)


def _values(classes: Sequence[str], threshold: float | None) -> str:
    """Return the value that the pixels of each class have in a mask, and from which probability on they are of the second of two."""
    values = first_few(f"{number} {name}" for number, name in enumerate(classes))
    second = f" where its probability is {0.5 if threshold is None else threshold:.3g} or more" if len(classes) == 2 else ""
    return f"values: {values}{second}"


def predict_videos(
    predictor: Predictor, paths: Sequence[Path], *, every: int, out: Path, threshold: float | None, as_json: bool
) -> None:
    """Write each video with its masks over it, and print which part of all pixels every class has."""
    from tlkit.run import video_prediction

    def write(path: Path, name: str) -> Mapping[str, object]:
        place = out / f"{name}-overlay.mp4"
        frames, shares = video_prediction.write_overlay(predictor, path, place, every=every, threshold=threshold)
        return {"frames": frames, "shares": shares, "overlay": str(place)}

    video_prediction.refuse_bands(predictor)

    def said(count: str) -> str:
        return f"the overlay of {count} videos is written"

    _each(predictor, paths, write, out=out, threshold=threshold, said=said, as_json=as_json)


def _each(
    predictor: Predictor, paths: Sequence[File], write: Callable[[File, str], Mapping[str, object]], *, out: Path,
    threshold: float | None, said: Callable[[str], str], as_json: bool,
) -> None:  # fmt: skip
    """Write the masks of each file, and print which part of it every class has.

    Args:
        predictor: The run's network.
        paths: The files.
        write: (A file, what the names of its masks begin with) -> what the JSON says of it, with the `shares` of the classes.
        out: The folder of the masks.
        threshold: Probability from which on a pixel is of the second of two classes; None for 0.5.
        said: (how many files) -> what is said of `out`.
        as_json: Print JSON.
    """
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings

    rows: list[dict[str, Any]] = []
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress:
        for path, name in zip(paths, predictions_file.names(paths), strict=True):
            try:
                rows.append({"image": files.shown(path), **write(path, name), "error": None})
            except DataError as error:
                failed.append(error)
                rows.append({"image": files.shown(path), "shares": {}, "error": str(error)})
            progress(len(rows), len(paths))
    answered = [row for row in rows if row["error"] is None]
    if as_json:
        chosen = {} if threshold is None or len(predictor.classes) != 2 else {"threshold": threshold}
        console.as_json({"format": 1, **chosen, "predictions": rows})
    elif answered:
        shares = ((row["image"], list(row["shares"].items())) for row in answered)
        console.show(tables.predictions(shares, of="share of pixels"))
        console.line(f"{out}: {said(f'{len(answered):,} of {len(rows):,}')}")
    console.tell_failed(failed, some_done=bool(answered))
