"""Check the tables of [data] that are for masks and boxes alone, or not for them, and complete the crops of an arm. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from tlkit import tasks
from tlkit.errors import TlkitError
from tlkit.plugin import IGNORED, Head
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation, RandomCrop, RandomResizedCrop, Rotate
from tlkit.recipe.recipe import Arm
from tlkit.recipe.tables import FieldOfView


def problems(arm: Arm, head: Head) -> Iterator[TlkitError]:
    """Yield the keys of [data] that are for masks and boxes alone, or not for them."""
    table, kind, targets = arm.data, arm.head.kind, tasks.get(head.task).targets
    if table.ignore != IGNORED and not targets.masks:
        yield TlkitError(f"data.ignore: is for heads of masks, and {kind} is none.", "leave it out")
    if table.tile_size is not None and not targets.masks:
        yield TlkitError(f"data.tile_size: is for heads of masks, and {kind} is none.", "leave it out")
    if not targets.whole:
        given = {"crop_size": table.crop_size, "scale_to": table.scale_to}
        for name, value in given.items():
            if value is not None:
                yield TlkitError(
                    f"data.{name}: is for heads of masks or boxes, and {kind} is none.",
                    "leave it out",
                    "data.image_size resizes pictures",
                )
        return
    for name in ("image_size", "image_sizes", "crop"):
        if getattr(table, name) is not None:
            yield TlkitError(
                f"data.{name}: pictures are not resized to one size where targets say where something is.",
                "data.crop_size = 256 trains on crops of them, data.scale_to = 0.5 makes all of them smaller",
            )
    if table.fit != "crop":
        yield TlkitError(
            f"data.fit: {table.fit} is for one size of all pictures, and masks and boxes have that of theirs.", "leave it out"
        )
    if isinstance(table.scale_to, FieldOfView) and not targets.masks:
        yield TlkitError("data.scale_to: a field of view is measured for masks alone.", "a factor")
    elif isinstance(table.scale_to, FieldOfView) and table.channels is not None:
        yield TlkitError("data.scale_to: a field of view is measured in colour pictures, not in bands.", "a factor")
    names = [each.name for each in table.augment]
    if "randaugment" in names:
        yield TlkitError(
            "data.augment: randaugment moves pixels of a picture by operations that masks have not.",
            'for instance ["hflip", "rotate", "color_jitter"]',
        )
    if "random_crop" in names and table.crop_size is None:
        yield TlkitError("data.augment: random_crop needs the size of the crops.", "data.crop_size = 256")
    turns = any(isinstance(each, Rotate) and each.steps is not None and each.steps % 180 for each in table.augment)
    if turns and table.crop_size is None:
        yield TlkitError("data.augment: rotate by 90 degrees needs square pictures.", "data.crop_size = 256")


def with_crops(arm: Arm, head: Head) -> Arm:
    """Return an arm of masks or boxes whose first augmentation crops what pictures cover of their canvas, where it says how large crops are."""
    windows = augmentations.windows(arm.data.augment)
    if not tasks.get(head.task).targets.whole or (windows is None and arm.data.crop_size is None):
        return arm
    given = [each for each in arm.data.augment if isinstance(each, RandomCrop)] or [RandomCrop(name="random_crop")]
    crops: list[Augmentation] = [windows] if windows is not None else [*given]
    rest = [each for each in arm.data.augment if not isinstance(each, RandomCrop | RandomResizedCrop)]
    return arm.model_copy(update={"data": arm.data.model_copy(update={"augment": [*crops, *rest]})})
