"""What the functions of the API are given: a recipe's file, settings, an arm and folders, checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError, as_path, first_few, nearest, option
from tlkit.events import Observer
from tlkit.plans.resolved import Resolved
from tlkit.recipe.recipe import Recipe
from tlkit.sources import data_files
from tlkit.sources.places import Places


def places(recipe: Path, data: str | Path | None, offline: bool, observer: Observer) -> Places:
    """Return where to look for images and weights of a recipe."""
    files.refuse_other_than_utf8(recipe.parent.resolve())
    return Places(
        recipe=recipe.parent,
        data=as_path(data, "data") if data is not None else None,
        offline=offline,
        notify=observer.note,
        show=observer.downloading,
    )


def note_unused_data(data: str | Path | None, arms: Mapping[str, Resolved], observer: Observer) -> None:
    """Say where a folder of images is named and no data set of the recipe reads one."""
    if data is not None and not any(data_files.takes_folder(each.dataset) for each in arms.values()):
        names = ", ".join(dict.fromkeys(each.arm.data.name for each in arms.values()))
        observer.note(f"{option('data', str(data))} has no effect: {names} reads no folder")


def listed(settings: object) -> list[str]:
    """Return settings as a list; one alone is one."""
    several = [settings] if isinstance(settings, str) else settings
    if not isinstance(several, Sequence) or not all(isinstance(each, str) for each in several):
        raise TlkitError(f"settings: is {settings!r}.", 'texts "key=value": ["schedule.epochs=4", "data.batch_size=8"]')
    return list(several)


def check_arm(arm: str | None, recipe: Recipe) -> None:
    """Refuse an arm that a recipe does not have."""
    if arm is not None and arm not in recipe.arms:
        arm = str(arm)
        raise TlkitError(
            f'{option("arm", arm)}: the recipe has no arm "{arm}".',
            f"arms: {first_few(recipe.arms, 20)}",
            nearest(arm, recipe.arms),
        )
