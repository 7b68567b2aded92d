"""Look at training pictures before a run: whether crops of them are larger than they are. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit.errors import ImageError, first_few
from tlkit.plugin import ImageFile
from tlkit.sources import scaling
from tlkit.units import Size, pixels

_MOST = 1_000  # pictures whose size is looked at, at even distances: 50 ms


def too_small(files: Sequence[ImageFile], crop: Size, *, factor: float, padding: int) -> str:
    """Say how many pictures are smaller than crops of them, and which; "" where none is.

    Args:
        files: Training pictures, whose first bytes are read.
        crop: Height and width of the crops.
        factor: What a picture is scaled by before.
        padding: Pixels around a picture that a crop may take.
    """
    small, looked = [], 0
    for index in sorted({int(each) for each in np.linspace(0, len(files) - 1, _MOST)} if len(files) else ()):
        try:
            size = scaling.scaled(scaling.size_of(files[index]), factor)
        except ImageError:  # it is said of it elsewhere
            continue
        looked += 1
        if any(side + 2 * padding < wanted for side, wanted in zip(size, crop, strict=True)):
            small.append(f"{files[index]} has {pixels(size)}")
    if not small:
        return ""
    counted = f"{looked:,} training pictures" + (" looked at" if looked < len(files) else "")
    scaled = "" if factor == 1 else " after data.scale_to"
    return f"{len(small):,} of {counted} are smaller{scaled} than data.crop_size, {pixels(crop)}: {first_few(small)}; apply stops at them"
