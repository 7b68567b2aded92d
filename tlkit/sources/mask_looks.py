"""Look at a few masks before a run: whether they have the size of their pictures, values that are classes, and two of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from tlkit.errors import ImageError, first_few
from tlkit.plugin import IGNORED, ImageFile, MaskCoding, MaskFile, remembered
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
    classes: Sequence[str],
    ignore: int,
    on_corrupt: OnCorrupt,
    sized: bool = True,
) -> str:
    """Say how many of a few masks cannot be used, which, and what `tlkit apply` does about them, or that all show one class; "" where neither is.

    Masks that can be are remembered, and not read again.

    Args:
        pictures: The pictures of a data set.
        masks: Of each the mask.
        classes: Their names.
        ignore: Value of pixels that count for nothing.
        on_corrupt: As in the recipe.
        sized: The pictures are of colours, so that their size is soon known; else the masks' sizes are not looked at.
    """
    chosen = _chosen(pictures, masks, sized=sized)
    depends_on = mask_counts.depends_on([mask for mask, _ in chosen], classes=len(classes), ignore=ignore)
    if depends_on is not None:
        depends_on |= {"what": "classes of masks that can be used", "sizes": [size for _, size in chosen]}
        known = remembered.recall(depends_on)
        if isinstance(known, list):
            return _one_class(known, classes, of=chosen, ignore=ignore)
    problems, shown = [], set[int]()
    for mask, size in chosen:
        try:
            read = mask_files.read(mask, classes=len(classes), size=size, ignore=ignore)
            shown |= {int(number) for number in np.unique(read)}
        except ImageError as error:
            problems.append(error.problem.removesuffix("."))
    if problems:
        counted = f"{len(chosen):,} masks" + (" looked at" if len(chosen) < len(masks) else "")
        return f"{len(problems):,} of {counted} cannot be used: {first_few(problems)}; {image_files.consequence(on_corrupt)}"
    if depends_on is not None:
        remembered.remember(depends_on, sorted(shown))
    return _one_class(sorted(shown), classes, of=chosen, ignore=ignore)


def _one_class(shown: Sequence[int], classes: Sequence[str], *, of: Sequence[tuple[MaskFile, object]], ignore: int) -> str:
    """Say that masks show one class alone, or none; "" where they show more, or there are none."""
    ignored, shown = IGNORED in shown, [number for number in shown if number != IGNORED]
    if len(shown) > 1 or not of:
        return ""
    said = f'"{classes[shown[0]]}"' if shown else "ignored"
    fix = f"data.options.classes = {{ {classes[0]} = 0, {classes[1]} = {ignore} }}"
    means = (
        f"; {ignore} counts for nothing, unless it is a class: {fix}"
        if ignored and of[0][0].coding == MaskCoding() and len(classes) > 1
        else ""
    )
    return f"all {len(of):,} masks looked at are {said} everywhere; apply stops where every training mask is{means}"


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
