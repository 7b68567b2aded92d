"""Look at a few masks before a run: whether they have the size of their pictures, and values that are classes. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from tlkit.errors import ImageError, first_few
from tlkit.plugin import ImageFile, MaskFile, remembered
from tlkit.sources import image_files, mask_counts, mask_files, scaling
from tlkit.sources.image_files import OnCorrupt
from tlkit.units import Size

# Read at most, at even distances, and pixels after which no further mask is read: 25 to 70 ns each on one core of the machine that tests ran on, so
# that 10,000 masks of 565 x 584 pixels would take minutes. What is wrong with masks is mostly wrong with all.
_MOST, _PIXELS = 16, 5_000_000
_UNKNOWN = 1_000_000  # pixels of a picture whose size is not looked at


def unusable(
    pictures: Sequence[ImageFile],
    masks: Sequence[MaskFile],
    *,
    classes: int,
    ignore: int,
    on_corrupt: OnCorrupt,
    sized: bool = True,
) -> str:
    """Say how many of a few masks cannot be used, which, and what `tlkit apply` does about them; "" where all can be.

    Masks that can be are remembered, and not read again.

    Args:
        pictures: The pictures of a data set.
        masks: Of each the mask.
        classes: Number of classes.
        ignore: Value of pixels that count for nothing.
        on_corrupt: As in the recipe.
        sized: The pictures are of colours, so that their size is soon known; else the masks' sizes are not looked at.
    """
    chosen = _chosen(pictures, masks, sized=sized)
    depends_on = mask_counts.depends_on([mask for mask, _ in chosen], classes=classes, ignore=ignore)
    if depends_on is not None:
        depends_on |= {"what": "masks that can be used", "sizes": [size for _, size in chosen]}
        if remembered.recall(depends_on) is True:
            return ""
    problems = []
    for mask, size in chosen:
        try:
            mask_files.read(mask, classes=classes, size=size, ignore=ignore)
        except ImageError as error:
            problems.append(error.problem.removesuffix("."))
    if problems:
        counted = f"{len(chosen):,} masks" + (" looked at" if len(chosen) < len(masks) else "")
        return f"{len(problems):,} of {counted} cannot be used: {first_few(problems)}; {image_files.consequence(on_corrupt)}"
    if depends_on is not None:
        remembered.remember(depends_on, True)
    return ""


def _chosen(pictures: Sequence[ImageFile], masks: Sequence[MaskFile], *, sized: bool) -> list[tuple[MaskFile, Size | None]]:
    """Return the masks that are looked at, each with the height and width of its picture where that is known."""
    chosen, pixels = list[tuple[MaskFile, Size | None]](), 0
    for index in sorted({int(each) for each in np.linspace(0, len(masks) - 1, _MOST)} if len(masks) else ()):
        size = None
        with suppress(ImageError):  # of a picture that cannot be read, which is said of it
            size = scaling.size_of(pictures[index]) if sized else None
        pixels += _UNKNOWN if size is None else size[0] * size[1]
        if chosen and pixels > _PIXELS:
            break
        chosen.append((masks[index], size))
    return chosen
