"""The data sets on disk that a run or a saved model was trained on, and which of their images were test images. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from tlkit.errors import TlkitError
from tlkit.plugin import Dataset, registry
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Recipe
from tlkit.record import run_folder

ANEW = "anew"  # all images were divided anew: the data set's own test images were trained on too
_NOT_OF_THE_SPLIT = {"path", "channels"}  # options that do not say which images are test images


@dataclass(frozen=True)
class Fitted:
    """A data set that was trained on.

    Attributes:
        content: Digest of its files.
        split: What says which images were test images, of `split`; `ANEW`; "" where that is not known.
    """

    content: str
    split: str


def split(name: str, options: BaseModel | None) -> str:
    """Return what says which images of a data set are test images: its name, and the options of it that are not defaults."""
    said = "" if options is None else options.model_dump_json(exclude=_NOT_OF_THE_SPLIT, exclude_defaults=True)
    return f"{name} {said}"


def of_run(folder: Path) -> tuple[Fitted, ...]:
    """Return the data sets that a run, or a saved model in all of its fits, was trained on.

    Raises:
        RunFolderError: resolved.toml is damaged.
        TlkitError: recipe.toml cannot be read.
    """
    contents = run_folder.trained_on(folder)
    model = run_folder.resolved(folder).get("model")
    splits = model.get("splits") if isinstance(model, dict) else None
    if not isinstance(splits, list) or len(splits) != len(contents):
        one = len(contents) == 1  # else the recipe is of one of them
        splits = [_of_recipe(parsing.read(folder / run_folder.RECIPE)) if one else ""] * len(contents)
    return tuple(Fitted(content, str(each)) for content, each in zip(contents, splits, strict=True))


def record(fits: Sequence[Fitted]) -> dict[str, list[str]]:
    """Return what a saved model's resolved.toml tells of its fits, each data set once for every way to hold images out."""
    each = list(dict.fromkeys(fits))
    return {"trained_on": [one.content for one in each], "splits": [one.split for one in each]}


def _of_recipe(recipe: Recipe) -> str:
    (arm,) = recipe.arms.values()
    if arm.data.split.fractions is not None:
        return ANEW
    if recipe.folds is None:
        with contextlib.suppress(TlkitError):  # images in memory, or of a plugin that is not installed
            options = registry.get(Dataset, arm.data.name).options
            return split(arm.data.name, parsing.options(options, arm.data.options, place="data.options"))
    return ""
