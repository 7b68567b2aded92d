"""The recipe that `tlkit init` would write for a folder of images, read without a file. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from tlkit.advice import folder_look, init_recipe
from tlkit.recipe import parsing
from tlkit.recipe.recipe import Recipe
from tlkit.recipe.settings import parse_setting


def read(folder: Path, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a folder; its paths begin in the folder above.

    Args:
        folder: Images in one sub-folder per class.
        settings: "key=value" each.

    Raises:
        DataError: the folder is not one of images in classes.
        RecipeError: a setting does not fit.
    """
    whole = folder.resolve()
    text = init_recipe.recipe_text(whole, folder_look.look(whole), whole.parent / "inspect.toml")
    return parsing.build(tomllib.loads(text), where=str(folder), settings=[parse_setting(each) for each in settings])
