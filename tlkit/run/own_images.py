"""The images that a finished run was trained on and validated with, found again on this machine.

The rule: which images these are is what the run wrote in split.json; the files must be those that it was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import RunFolderError, TlkitError, option
from tlkit.plans import dataset_images, job_inputs, resolve
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import DataFiles, Images
from tlkit.recipe import naming, parsing
from tlkit.record import run_folder
from tlkit.sources import data_files
from tlkit.sources.places import Places


def find(run: Path, places: Places) -> tuple[Images, dict[str, Selected]]:
    """Return a run's data set, and which of its images the parts "train" and "validation" had; a part without images is left out.

    Args:
        run: The run's folder.
        places: Where the data set is looked for; nothing is downloaded.

    Raises:
        DataMissing: the images are not on this machine any more.
        TlkitError: there are other images now, or the run is a model that was saved without a word of its images.
        RunFolderError: split.json is damaged.
    """
    known = run_folder.resolved(run)
    if "inputs" not in known:
        raise TlkitError(
            f"{run}: does not say which images it was trained on.",
            "a run of tlkit apply does, and a model that is saved after it was fitted on a folder or a data set by its name",
        )
    path = run / run_folder.RECIPE
    recipe = parsing.read(path)
    ((name, arm),) = recipe.arms.items()
    resolved = resolve.resolve_arm(arm, name=name, recipe=recipe.name, places=places, where=str(path), folds=recipe.folds)
    with naming.named(str(path)):
        found = data_files.find_data(arm.data.name, resolved.dataset, resolved.data_options, places, fetch=False)
        _refuse_others(run, known["inputs"], resolved, found)
        images = dataset_images.images(resolved, found)
    return images, _parts(run, images)


def _refuse_others(run: Path, known: Mapping[str, str], resolved: Resolved, found: DataFiles) -> None:
    """Refuse files of another content than those that a run was trained with."""
    now = job_inputs.data_content("data", resolved.source, found)
    if any(known.get(name) != content for name, content in now.items()):
        raise TlkitError(
            f"{run}: was trained on other images than those in {found.root}.",
            f"name the folder that holds the same files: {option('data', 'DIR')}",
            "or apply the recipe again",
        )


def _parts(run: Path, images: Images) -> dict[str, Selected]:
    """Return the positions in split.json, each with the split of the data set that they count in."""
    path = run / run_folder.SPLIT
    own = len(images.splits["validation"].targets) if "validation" in images.splits else 0
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not record["train"]["count"]:
            raise TlkitError(
                f"{run}: was trained on images of the target of [adapt] alone.",
                "the run that it began with has training images",
            )
        positions = {"train": record["train"]["positions"], "validation": record["validation"].get("positions", ())}
        parts = {
            name: Selected("validation" if own and name == "validation" else "train", np.array(indices, np.int64))
            for name, indices in positions.items()
        }
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: is damaged: {error}.", "apply the recipe again") from error
    parts = {name: part for name, part in parts.items() if len(part.indices)}
    for part in parts.values():
        there = len(images.splits[part.split].targets)
        if part.indices.max() >= there:  # the data set is made by a plugin, which is another now
            raise RunFolderError(
                f"{run}: was trained with image {part.indices.max():,} of a data set that has {there:,} now.",
                "apply the recipe again",
            )
    return parts
