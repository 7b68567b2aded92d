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


def sizes(files: Sequence[ImageFile]) -> list[tuple[str, Size]]:
    """Return name, height and width of pictures at even distances, all of few; without those that cannot be read.

    Args:
        files: Training pictures, whose first bytes are read.
    """
    most = _MOST if len(files) and isinstance(files[0], Path) else _FEW
    found = list[tuple[str, Size]]()
    for index in sorted({int(each) for each in np.linspace(0, len(files) - 1, most)} if len(files) else ()):
        with suppress(ImageError):  # it is said of it elsewhere
            found.append((str(files[index]), scaling.size_of(files[index])))
    return found


def too_small(looked: Sequence[tuple[str, Size]], crop: Size, *, total: int, factor: float, padding: int) -> str:
    """Say how many pictures are smaller than crops of them, which, and what helps; "" where none is.

    Args:
        looked: What `sizes` found.
        crop: Height and width of the crops.
        total: Training pictures.
        factor: What a picture is scaled by before.
        padding: Pixels around a picture that a crop may take.
    """
    made = [scaling.scaled(size, factor) for _, size in looked]
    given = np.array(made, np.int64).reshape(-1, 2)
    fails = scaling.smaller(given, crop, padding=padding)
    small = [f"{name} has {pixels(size)}" for (name, _), size, fail in zip(looked, made, fails, strict=True) if fail]
    if not small:
        return ""
    counted = f"{len(looked):,} training pictures" + (" looked at" if len(looked) < total else "")
    scaled = "" if factor == 1 else " after data.scale_to"
    told = f"{len(small):,} of {counted} are smaller{scaled} than data.crop_size, {pixels(crop)}: {first_few(small)}"
    return f"{told}; apply stops at them: {scaling.smaller_hint(given, crop)}"
