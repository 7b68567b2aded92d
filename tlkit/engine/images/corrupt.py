"""Leave out or refuse images that cannot be decoded."""

from __future__ import annotations

import numpy as np

from tlkit.engine.images.pictures import Indices, Pictures, Progress
from tlkit.errors import DataError

_SHOWN = 5  # corrupt images that a message names


def decodable(pictures: Pictures, indices: Indices, *, on_corrupt: str, progress: Progress) -> tuple[Indices, list[str]]:
    """Decode images, and leave out or refuse those that cannot be decoded.

    Args:
        pictures: The split.
        indices: Positions of the images in it.
        on_corrupt: "error" or "skip".
        progress: Called with the images done and their total.

    Returns:
        The images that remain, and a line per image that was skipped.

    Raises:
        DataError: an image cannot be decoded and on_corrupt is "error"; names each, up to five.
    """
    corrupt = pictures.prepare(indices, progress=progress)
    if not corrupt:
        return indices, []
    lines = [error.problem for error in corrupt.values()]
    if on_corrupt == "error":
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        (first, *_) = corrupt.values()
        raise DataError(
            lines[0], *lines[1:_SHOWN], *more, *first.hints, 'mend or remove it, or skip such images: data.on_corrupt = "skip"'
        )
    return indices[~np.isin(indices, list(corrupt))], lines
