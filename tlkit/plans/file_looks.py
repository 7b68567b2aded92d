"""Look at the files of a data set before a run: what cannot be read, masks that cannot be used, crops that do not fit. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from tlkit import tasks
from tlkit.plans import looked_up
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images
from tlkit.plugin.members import Joined, Subset
from tlkit.recipe import augmentations
from tlkit.recipe.tables import FieldOfView
from tlkit.sources import crop_looks, image_files, mask_looks


def unreadable(resolved: Resolved, images: Images) -> str:
    """Say how many files cannot be read; "" where all can be."""
    table, values = resolved.arm.data, resolved.convention.values
    every = Joined([split.files for split in images.splits.values()])
    return looked_up.once(
        images, ("unreadable", table.max_pixels, table.on_corrupt, table.channels, values),
        lambda: image_files.unreadable(
            every, max_pixels=table.max_pixels, on_corrupt=table.on_corrupt, bands=table.channels, values=values
        ),
    )  # fmt: skip


def unusable_masks(resolved: Resolved, images: Images) -> str:
    """Say which of a few masks cannot be used; "" where all can be, and for a task without masks."""
    table = resolved.arm.data
    if not tasks.get(resolved.head.task).targets.masks:
        return ""
    splits = [split for split in images.splits.values() if len(split.files)]
    return looked_up.once(
        images, ("unusable masks", table.ignore, table.on_corrupt, table.channels),
        lambda: mask_looks.unusable(
            Joined([split.files for split in splits]), [mask for split in splits for mask in split.targets],
            classes=images.classes, ignore=table.ignore, on_corrupt=table.on_corrupt, sized=table.channels is None,
        ),
    )  # fmt: skip


def small_pictures(resolved: Resolved, images: Images, parts: Mapping[str, Selected]) -> str:
    """Say which training pictures are smaller than the crops of them; "" where none is, or how they are scaled is not known before they are read."""
    table = resolved.arm.data
    crop = next((each for each in table.augment if isinstance(each, augmentations.RandomCrop)), None)
    if table.crop_size is None or crop is None or "train" not in parts or isinstance(table.scale_to, FieldOfView):
        return ""
    files = images.splits[parts["train"].split].files
    if table.channels is not None or not len(files):
        return ""
    factor = 1.0 if table.scale_to is None else table.scale_to
    chosen = Subset(files, parts["train"].indices)
    sizes = looked_up.once(images, ("sizes", *looked_up.named(images, parts["train"])), lambda: crop_looks.sizes(chosen))
    return crop_looks.too_small(sizes, resolved.image_size, total=len(chosen), factor=factor, padding=crop.padding or 0)
