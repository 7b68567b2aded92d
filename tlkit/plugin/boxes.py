"""Boxes as data: the objects of a picture, each in a box of sides along the picture's. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values that a head of boxes gives for each anchor beside the classes: where its box is (4), the anchor's own corners in pixels (4), and the
# number of the level of the feature pyramid that it is on. A head of places gives one more: how central the place is in its box.
ANCHOR_VALUES = 9
POINT_VALUES = 10


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of one picture.

    Attributes:
        size: Height and width of the picture, pixels.
        corners: (m, 4) float32, left, top, right and bottom of each box: distances in pixels from the picture's left and upper side.
        classes: (m,) int64.
        ignored: (m,) bool: crowds, and objects that are too hard. They are not trained on, and what is found there counts for nothing.
        room: Boxes that there is room for in a batch, the most of any picture: see `boxed`.
    """

    size: tuple[int, int]
    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    room: int = 0


def boxed(splits: Mapping[str, Sequence[Boxes]]) -> dict[str, NDArray[Any]]:
    """Return the targets (N,) of each split of a data set, in which every picture has room for as many boxes as any has."""
    room = max((len(each.classes) for split in splits.values() for each in split), default=0)
    found = {}
    for name, split in splits.items():
        found[name] = np.empty(len(split), object)
        found[name][:] = [replace(each, room=room) for each in split]
    return found
