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
from tlkit.plans import dataset_facts, dataset_parts, resolve
from tlkit.plugin import Split
from tlkit.recipe import parsing
from tlkit.record import run_folder
from tlkit.sources import data_files
from tlkit.sources.places import Places


def pictures(
    run: FinishedRun, name: Literal["train", "validation"], most: int, *, data: Path | None = None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield pictures (H, W, 3) uint8 RGB of a run's training or validation images with their targets, evenly chosen.

    Args:
        run: Whose recipe says which images these are.
        name: The split.
        most: No more than so many.
        data: Folder of the images; None where the recipe, or the cache, has it.

    Raises:
        DataMissing: the images are not on this machine any more.
        TlkitError: there are no such images.
    """
    split, indices = _selected(run, name, data)
    places = np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(np.int64))
    for index in indices[places].tolist():
        source = split.files[index] if split.files else None
        if source is None:
            assert split.pixels is not None
            yield np.ascontiguousarray(split.pixels[index]), split.targets[index]
        else:
            yield np.asarray(decode.whole(source, run.predictor.geometry)), split.targets[index]


def _selected(run: FinishedRun, name: str, data: Path | None) -> tuple[Split, NDArray[np.int64]]:
    """The data set's split that the images are taken from, and their positions in it."""
    path = run.folder / run_folder.RECIPE
    recipe, places = parsing.read(path), Places(recipe=run.folder, data=data, offline=True)
    resolved = resolve.resolve_arm(
        run.arm, name=next(iter(recipe.arms)), recipe=recipe.name, places=places, where=str(path), folds=recipe.folds
    )
    found = data_files.find_data(run.arm.data.name, resolved.dataset, resolved.data_options, places, fetch=False)
    images = dataset_facts.images(resolved.dataset, found, resolved)
    fold = None if run.result is None else run.result.fold
    chosen = dataset_parts.select(resolved, images, seed=recipe.seeds[0], fold=fold)
    if name not in chosen:
        raise TlkitError(f"{run.folder}: the run has no {name} images.", "without them --quantize cannot tell what it costs")
    return images.splits[chosen[name].split], chosen[name].indices
