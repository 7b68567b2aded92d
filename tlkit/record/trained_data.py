"""The data sets on disk that a run or a saved model was trained on, and which of their images were test images. Imports no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tlkit.errors import TlkitError
from tlkit.plugin import Dataset, registry
from tlkit.recipe import parsing
from tlkit.recipe.domains import NONE
from tlkit.recipe.recipe import Arm
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
    model = run_folder.resolved(folder).get("model")
    contents = model.get("trained_on") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(contents, list):
        arm, folds = _read(folder)
        return of_arm(arm, run_folder.inputs(folder), folds=folds)
    splits = model.get("splits")
    if not isinstance(splits, list) or len(splits) != len(contents):
        one = len(contents) == 1  # else the recipe is of one of them
        splits = [_of_data(*_read(folder)) if one else ""] * len(contents)
    return tuple(Fitted(str(content), str(each)) for content, each in zip(contents, splits, strict=True))


def of_arm(arm: Arm, inputs: Mapping[str, str], *, folds: bool = False) -> tuple[Fitted, ...]:
    """Return the data sets that an arm is trained on: its own, the target of [adapt], and images without labels.

    Args:
        arm: As it was trained.
        inputs: Digests of what it read, as `Job.inputs`; a data set without files has none, and is left out.
        folds: A cross-validation divides its images.
    """
    found = [Fitted(inputs.get("data", ""), _of_data(arm, folds))]
    adapt, target = arm.adapt, None if arm.adapt is None else arm.also.get(arm.adapt.target)
    if adapt is not None and target is not None and (adapt.method != NONE or adapt.labels_per_class or adapt.pseudo_labels):
        divided = adapt.images == "all" or target.split.per_class is not None  # its own test images are used, or may be
        content = inputs.get("data" if target.of_own_images else f"also.{adapt.target}", "")
        found.append(Fitted(content, ANEW if divided else _split(target.name or arm.data.name, target.options)))
    found.append(Fitted(inputs.get("data.unlabelled", ""), ANEW))
    return tuple(each for each in found if each.content)


def tested(fit: Fitted, now: str) -> bool:
    """Return whether the own test images of a data set may be among those that a fit on it trained on.

    Args:
        fit: On that data set.
        now: Its `split` as it is read now, with test images of its own.
    """
    return fit.split == ANEW or (bool(fit.split) and _own(fit.split) != _own(now))


def _own(said: str) -> tuple[str, Any]:
    """Return a `split` with the options alone that may say which images are the data set's own test images.

    Where the data set does not say which do, all but the fraction that is held out where there are none of its own.
    """
    name, _, options = said.partition(" ")
    says = None
    with contextlib.suppress(TlkitError):  # a plugin that is not installed any more
        says = registry.get(Dataset, name).test_options
    with contextlib.suppress(ValueError, AttributeError):
        read = json.loads(options).items()
        return name, {key: value for key, value in read if (key != "test_fraction" if says is None else key in says)}
    return name, {}


def record(fits: Sequence[Fitted]) -> dict[str, list[str]]:
    """Return what a saved model's resolved.toml tells of its fits, each data set once for every way to hold images out."""
    each = list(dict.fromkeys(fits))
    return {"trained_on": [one.content for one in each], "splits": [one.split for one in each]}


def _read(folder: Path) -> tuple[Arm, bool]:
    """Return the arm of a run, and whether it is a fold of a cross-validation."""
    recipe = parsing.read(folder / run_folder.RECIPE)
    (arm,) = recipe.arms.values()
    return arm, recipe.folds is not None


def _of_data(arm: Arm, folds: bool) -> str:
    if arm.data.split.fractions is not None:
        return ANEW
    return "" if folds else _split(arm.data.name, arm.data.options)


def _split(name: str, options: Mapping[str, Any]) -> str:
    with contextlib.suppress(TlkitError):  # images in memory, or of a plugin that is not installed
        return split(name, parsing.options(registry.get(Dataset, name).options, options, place="data.options"))
    return ""
