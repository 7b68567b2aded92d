"""The output of leading stages where the rest of a network reads several stages: which maps it holds, and its shape. Imports no torch.

A head may read the maps of earlier stages; a method of domain adaptation compares their means over the picture.

The rule: what comes out of a cut network is one tensor an image, so that storing, batching and capturing need not know how many maps it
holds. Its last two sides are those of the image, which say, with the network, what shape each map has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Shape = tuple[int, ...]


def needed(reads: Sequence[int], stages: int) -> tuple[int, ...]:
    """Return the stages, from 0, whose outputs the rest of a network needs that is cut after so many stages.

    Args:
        reads: The stages whose outputs it reads, ascending.
        stages: Leading stages before the cut, at least 1.
    """
    return (*(stage for stage in reads if stage < stages - 1), stages - 1)


def mean_shape(output: Shape) -> Shape:
    """Return the shape (C,) of the mean over the picture of a map (C, h, w), over tokens (T, C), or of features (C,)."""
    return output[-1:] if len(output) == 2 else output[:1]


def packed(outputs: Sequence[Shape], size: tuple[int, int]) -> Shape:
    """Return the shape of one image's maps in one array, (1, planes, H, W): their values in order, the last plane filled with zeros.

    Args:
        outputs: The shape of each map, or mean, for one image.
        size: Height and width of the image, pixels.
    """
    return 1, -(-sum(math.prod(output) for output in outputs) // math.prod(size)), *size
