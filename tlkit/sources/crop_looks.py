"""Look at training pictures before a run: whether crops of them are larger than they are. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from tlkit.errors import ImageError, first_few
from tlkit.plugin import ImageFile
from tlkit.sources import scaling
from tlkit.units import Size, pixels

_MOST, _FEW = 200, 16  # pictures whose size is looked at, at even distances: 30 ms; and of those that lie in larger files


def too_small(files: Sequence[ImageFile], crop: Size, *, factor: float, padding: int) -> str:
    """Say how many pictures are smaller than crops of them, which, and what helps; "" where none is.

    Args:
        files: Training pictures, whose first bytes are read.
        crop: Height and width of the crops.
        factor: What a picture is scaled by before.
        padding: Pixels around a picture that a crop may take.
    """
    most = _MOST if len(files) and isinstance(files[0], Path) else _FEW
    looked = list[tuple[ImageFile, Size]]()
    for index in sorted({int(each) for each in np.linspace(0, len(files) - 1, most)} if len(files) else ()):
        with suppress(ImageError):  # it is said of it elsewhere
            looked.append((files[index], scaling.scaled(scaling.size_of(files[index]), factor)))
    sizes = np.array([size for _, size in looked], np.int64).reshape(-1, 2)
    small = [
        f"{looked[place][0]} has {pixels(looked[place][1])}"
        for place in np.flatnonzero(scaling.smaller(sizes, crop, padding=padding))
    ]
    if not small:
        return ""
    counted = f"{len(looked):,} training pictures" + (" looked at" if len(looked) < len(files) else "")
    scaled = "" if factor == 1 else " after data.scale_to"
    told = f"{len(small):,} of {counted} are smaller{scaled} than data.crop_size, {pixels(crop)}: {first_few(small)}"
    return f"{told}; apply stops at them: {scaling.smaller_hint(sizes, crop)}"
