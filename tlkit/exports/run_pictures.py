"""The pictures of a run's data set as its graph takes them: of the size that the files have, or scaled as `data.scale_to` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.images import decode, extents, masks
from tlkit.engine.images.geometry import fitted
from tlkit.errors import TlkitError
from tlkit.exports.finished_run import FinishedRun
from tlkit.plugin import Split
from tlkit.run import own_images
from tlkit.sources.places import Places


def pictures(
    run: FinishedRun, name: Literal["train", "validation"], most: int, *, data: Path | None = None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield pictures (H, W, 3) uint8 RGB of a run's training or validation images with their targets, evenly chosen.

    The target of a mask is its classes (H, W) uint8, on the canvas of its picture.

    Args:
        run: Whose split.json says which images these are.
        name: The split.
        most: No more than so many.
        data: Folder of the images; None where the recipe, or the cache, has it.

    Raises:
        DataMissing: the images are not on this machine any more.
        TlkitError: there are no such images, or the folder holds others than the run was trained with.
    """
    images, parts = own_images.find(run.folder, Places(recipe=run.folder, data=data, offline=True, settings=False))
    if name not in parts:
        raise TlkitError(f"{run.folder}: the run has no {name} images.", "without them --quantize cannot tell what it costs")
    split, indices = images.splits[parts[name].split], parts[name].indices
    places = np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(np.int64))
    for index in indices[places].tolist():
        yield _scaled(run, split, index) if run.head.pixels else (_whole(run, split, index), split.targets[index])


def _whole(run: FinishedRun, split: Split, index: int) -> NDArray[np.uint8]:
    source = extents.source_of(split, index)
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(source)
    return np.asarray(decode.whole(source, run.predictor.geometry))


def _scaled(run: FinishedRun, split: Split, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture on a canvas of its own, which it fills, and its mask."""
    image = decode.whole(extents.source_of(split, index), run.predictor.geometry)
    geometry = extents.settled(split, index, run.predictor.geometry, image)
    size = extents.scaled_size(split, index, geometry)
    geometry = replace(geometry, size=size, resized=size)
    mask = masks.on_its_canvas(split, index, geometry, classes=len(run.predictor.classes), ignore=run.arm.data.ignore)
    return np.asarray(fitted(image, geometry)), mask
