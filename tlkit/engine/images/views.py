"""Views of a picture for test-time augmentation: the crops and flips whose predictions are averaged.

The rule: the first view is the picture as it is predicted without any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import CROP_ROOM, Geometry, Pixels, fitted
from tlkit.errors import UsageError
from tlkit.sources import stacks

# Number of views -> what they are, in words.
COUNTS: Final = {
    1: "the picture",
    2: "the picture and its mirror image",
    5: "the picture and its four corners",
    10: "the picture and its four corners, each with its mirror image",
}
_CORNERS: Final = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # top left, top right, bottom left, bottom right


def check(count: object, *, where: str) -> int:
    """Return a number of views.

    Raises:
        TlkitError: there are no views of this number.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count not in COUNTS:
        raise UsageError(f"{where}: is {count!r}.", *(f"{number}: {words}" for number, words in COUNTS.items()))
    return count


def geometries(plain: Geometry, count: int) -> tuple[Geometry, ...]:
    """Return the geometry of each view.

    Corners are cut out of the picture as it is resized before its centre is cut out; where that cuts nothing off, of the picture
    resized to be 256/224 as large.

    Args:
        plain: That of the picture as it is predicted without views.
        count: Of `COUNTS`.

    Source: 5 and 10 are the crops of Krizhevsky et al. 2012, 4.1, as torchvision's FiveCrop cuts them.
    """
    height, width = plain.size
    room = plain.resized
    if plain.fit != "crop" or room[0] <= height or room[1] <= width:
        room = round(height * CROP_ROOM), round(width * CROP_ROOM)
    corners = [replace(plain, resized=room, at=corner) for corner in _CORNERS] if count >= 5 else []
    upright = (plain, *corners)
    return upright if count in (1, 5) else (*upright, *(replace(each, mirrored=True) for each in upright))


def pictures(source: stacks.Picture | Pixels, views: tuple[Geometry, ...], *, digest: bytes | None = None) -> Pixels:
    """Return all views (views, height, width, channels) of a file, which is decoded once, or of an array.

    Raises:
        ImageError: as `decode.decode`.
    """
    largest = max(views, key=lambda view: view.resized)
    image = decode.whole(source, largest, digest=digest)
    return np.stack([fitted(image, view) for view in views])
