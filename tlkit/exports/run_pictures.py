"""The pictures of a run's data set as the files have them, before they are brought to size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.images import decode
from tlkit.errors import TlkitError
from tlkit.exports.finished_run import FinishedRun
from tlkit.run import own_images
from tlkit.sources.places import Places


def pictures(
    run: FinishedRun, name: Literal["train", "validation"], most: int, *, data: Path | None = None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield pictures (H, W, 3) uint8 RGB of a run's training or validation images with their targets, evenly chosen.

    Args:
        run: Whose split.json says which images these are.
        name: The split.
        most: No more than so many.
        data: Folder of the images; None where the recipe, or the cache, has it.

    Raises:
        DataMissing: the images are not on this machine any more.
        TlkitError: there are no such images, or the folder holds others than the run was trained with.
    """
    images, parts = own_images.find(run.folder, Places(recipe=run.folder, data=data, offline=True))
    if name not in parts:
        raise TlkitError(f"{run.folder}: the run has no {name} images.", "without them --quantize cannot tell what it costs")
    split, indices = images.splits[parts[name].split], parts[name].indices
    places = np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(np.int64))
    for index in indices[places].tolist():
        source = split.files[index] if split.files else None
        if source is None:
            assert split.pixels is not None
            yield np.ascontiguousarray(split.pixels[index]), split.targets[index]
        else:
            yield np.asarray(decode.whole(source, run.predictor.geometry)), split.targets[index]
