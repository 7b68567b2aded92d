"""A recipe, or a run's folder, to the tables that a Model begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tlkit.errors import TlkitError, first_few, nearest
from tlkit.model import progress, saving
from tlkit.model.saving import Standing
from tlkit.model.seen_data import Seen
from tlkit.model.setup import Tables, input_keys
from tlkit.recipe import maps, parsing
from tlkit.recipe.recipe import Arm, arm_toml
from tlkit.record import run_choice, run_folder
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.run import loading
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places

_OF_A_FIT = ("early_stopping", "also", "adapt")


def recipe(file: Path, arm: str | None, *, offline: bool) -> tuple[dict[str, Any], int, Places]:
    """Read an arm of a recipe: its tables, its first seed, and where its paths begin.

    Raises:
        TlkitError: the recipe cannot be used, or has several arms and none is named.
    """
    read = parsing.read(file)
    if arm is None and len(read.arms) > 1:
        raise TlkitError(f"Model.from_recipe: {file} has {len(read.arms)} arms.", f"arm= one of: {first_few(read.arms, 20)}")
    name = arm or next(iter(read.arms))
    if name not in read.arms:
        raise TlkitError(
            f'Model.from_recipe: {file} has no arm "{name}".', f"arms: {first_few(read.arms, 20)}", nearest(name, read.arms)
        )
    if read.folds is not None:
        progress.Notes().note(
            f"Model.from_recipe: {file} has [cross_validation], which is for tlkit.apply: fit trains on all training images"
        )
    if read.arms[name].adapt is not None:
        progress.Notes().note(
            f"Model.from_recipe: {file} has [adapt], which is for tlkit.apply: fit trains on the images of [data] alone"
        )
    return _tables(read.arms[name]), read.seeds[0], Places(recipe=file.parent, offline=offline, settings=False)


def run(folder: Path, arm: str | None, *, device: torch.device) -> tuple[Tables, int, Predictor, Standing, Seen]:
    """Read a run's folder: tables that say how its network learned, its seed, its network with what it means, how it stands, and what it has seen.

    Raises:
        RunFolderError: the folder is not a run's, or is damaged.
    """
    chosen = run_choice.choose(folder, arm).folder
    predictor = loading.load(chosen, arm=None, device=device, note=progress.Notes().note)
    read = parsing.read(chosen / run_folder.RECIPE)
    (table,) = read.arms.values()
    stands = saving.standing(chosen, table)
    left_out = {*_OF_A_FIT, *(saving.LEARNING - {"freeze"} if stands.state == "new" else ())}
    tables = {key: value for key, value in _tables(table).items() if key not in left_out}
    tables["backbone"]["weights"] = f"run:{chosen}"
    tables["data"] = input_keys(tables["data"])
    tables.setdefault("freeze", {})
    return tables, read.seeds[0], predictor, stands, Seen.of_run(chosen)


def _tables(arm: Arm) -> dict[str, Any]:
    """Return the tables of an arm without what needs [adapt], which a Model has not: scores of its target, and its domain head."""
    tables = arm_toml(arm)
    if arm.select_by in WITHOUT_LABELS:
        del tables["select_by"]
    tables.get("lr_groups", {}).pop(maps.DOMAIN, None)
    return tables
