"""What advice is asked for, read from a folder of images or from a recipe. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tlkit.advice import folder_recipe
from tlkit.advice.facts import Source
from tlkit.errors import TlkitError
from tlkit.events import Observer
from tlkit.plans import arguments, resolve
from tlkit.plans.resolved import Resolved
from tlkit.recipe.recipe import Recipe
from tlkit.sources.places import Places


def read(path: Path, settings: Sequence[str], places: Places) -> tuple[Recipe, dict[str, Resolved]]:
    """Read a recipe and resolve its arms; of a folder, the recipe that `tlkit init` would write.

    Args:
        path: The folder or the recipe.
        settings: "key=value" each.
        places: Where paths begin.

    Raises:
        TlkitError: the folder is not one of images in classes, or the recipe is wrong.
    """
    if not path.is_dir():
        return resolve.load(path, settings, places)
    recipe = folder_recipe.read(path, settings)
    return recipe, resolve.resolve(recipe, places, where=str(path))


def source(path: Path, recipe: Recipe, arms: Mapping[str, Resolved], arm: str | None, places: Places) -> Source:
    """Return what advice is asked for.

    Args:
        path: The folder or the recipe.
        recipe: As `read` returns it.
        arms: As `read` returns them.
        arm: The arm whose data is taken; None for the first one with trained weights.
        places: Where paths begin.
    """
    trained = [name for name, each in arms.items() if each.arm.backbone.weights != "none"]
    name = arm or (trained or list(arms))[0]
    return Source(str(path), recipe, recipe.arms[name], arms[name], places, path if path.is_dir() else None)


def domain(path: Path, target: Path, *, offline: bool, observer: Observer) -> Source:
    """Return the source domain, of a folder, where advice is asked for two domains.

    Args:
        path: The folder of the source.
        target: The folder of the target.
        offline: Download nothing.
        observer: Receives what places tell.

    Raises:
        TlkitError: one of them is no folder, or not one of images in classes.
    """
    for name, each in (("target", target), ("source", path)):
        if not each.is_dir():
            raise TlkitError(f"advise: the {name}, {each}, is no folder.", "two folders of images in one sub-folder per class")
    places = arguments.places(path.resolve(), None, offline, observer)
    recipe, arms = read(path, (), places)
    return source(path, recipe, arms, None, places)
