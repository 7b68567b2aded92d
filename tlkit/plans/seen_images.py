"""Find images that a run evaluates although the earlier run that it begins with was trained on them. Imports no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tlkit.errors import DataError, TlkitError
from tlkit.plans import overlap
from tlkit.plans.overlap import TRAIN, OnOverlap
from tlkit.plugin import ImageFile
from tlkit.recipe import parsing
from tlkit.record import run_folder
from tlkit.sources import weight_files


def warnings(
    value: str, weights: Path | None, parts: Mapping[str, Sequence[ImageFile]], *, on_overlap: OnOverlap
) -> tuple[str, ...]:
    """Say how many images of each part were trained on before; they are compared by the bytes of their files.

    Args:
        value: The arm's `backbone.weights`.
        weights: The weights file.
        parts: Files of the validation and test images, and of other data sets that are evaluated.
        on_overlap: The arm's `data.on_overlap`; images that an earlier run has seen cannot be dropped.

    Raises:
        DataError: there are such images, and `on_overlap` is "error".
    """
    if weights is None or not value.startswith(weight_files.RUN):
        return ()
    lines: list[str] = []
    for folder, files in trained_files(weights.parent):
        with contextlib.suppress(DataError):  # of a file that cannot be read any more
            for each in overlap.find(overlap.of_files({TRAIN: files, **parts})):
                if each.first == TRAIN:
                    lines.append(
                        f"overlap: {each.count:,} of {each.total:,} {each.second} images were trained on by {folder}, whose weights "
                        "this run begins with: the result is better than for new images"
                    )
    if lines and on_overlap == "error":
        raise DataError(
            f"data: {lines[0].removeprefix('overlap: ')}.", *lines[1:], "weights that have not seen these images",
            "or the seed, the [data.split] and the [cross_validation] of that run, so that the same images are held out",
        )  # fmt: skip
    return tuple(lines)


def trained_files(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield an earlier run, the one that it began with, and so on, each with the files of its training images that are still there."""
    seen: set[Path] = set()
    while folder not in seen:
        seen.add(folder)
        try:
            record = json.loads((folder / run_folder.SPLIT).read_text(encoding="utf-8"))
            files = [Path(file) for file in record[TRAIN].get("files", ()) if Path(file).is_file()]
            (arm,) = parsing.read(folder / run_folder.RECIPE).arms.values()
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            TlkitError,
        ):  # a model that was saved without a word of its images has no split
            return
        yield folder, files
        if arm.backbone.weights.startswith(weight_files.RUN):
            folder = Path(arm.backbone.weights.removeprefix(weight_files.RUN))
