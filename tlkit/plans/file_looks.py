"""Look at the files of a data set before a run: what cannot be read, masks that cannot be used, crops that do not fit. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.plans import looked_up
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Images
from tlkit.plugin.members import Joined
from tlkit.sources import crop_looks, image_files, mask_looks

# Height and width (N, 2) of each picture of a split after it is scaled, as the compiler looks it up; 0 where one cannot be read.
Sizes = Callable[[Resolved, Images, str], NDArray[np.int64]]


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


def small_pictures(resolved: Resolved, images: Images, parts: Mapping[str, Selected], sizes: Sizes | None) -> str:
    """Say that training pictures are smaller than the crops of them; "" where none is."""
    table = resolved.arm.data
    if sizes is None or table.crop_size is None or "train" not in parts:
        return ""
    split, indices = images.splits[parts["train"].split], parts["train"].indices
    found = sizes(resolved, images, parts["train"].split)
    refused = crop_looks.too_small(split, indices, found, table, augment=table.augment, crop=resolved.image_size)
    if refused is None:
        return ""
    return "; ".join([refused.problem[:-1], *refused.hints[:-1], f"apply stops there: {refused.hints[-1]}"])
