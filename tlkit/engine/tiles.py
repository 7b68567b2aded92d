"""Predict a picture that is too large to pass through the network whole: in tiles, whose predictions are blended where they overlap.

The rule: a picture that one tile holds is answered whole, with the same bits. In tiles the answer is another one: no tile sees what lies
outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tlkit.tasks import Task
from tlkit.units import Size

OVERLAP = 1 / 4  # of a tile, with the next one
# Bytes of a pixel while logits are made of its probabilities, for each class and beside them; and while its answer is counted for a mask.
_MADE, _COUNTED = (16, 0), (4, 55)
_CPU = torch.device("cpu")


def logits(task: Task, answer: Callable[[Tensor], Tensor], x: Tensor, *, tile: int) -> Tensor:
    """Return the logits (n, classes, H, W) of pictures; of those that no tile holds, the logits of their blended probabilities.

    Args:
        task: What logits mean.
        answer: From pictures or tiles to logits (n, classes, height, width).
        x: The pictures (n, channels, H, W).
        tile: Height and width of a tile.
    """
    if max(x.shape[2:]) <= tile:
        return answer(x)

    def shares(part: Tensor) -> Tensor:
        return task.probabilities(answer(part).float())

    overlap = int(tile * OVERLAP)
    found = [blended(shares, picture[None], tile=tile, overlap=overlap, place=x.device) for picture in x]
    return task.logits(torch.cat(found))


def peak_bytes(size: Size, *, classes: int, channels: int) -> int:
    """Return the bytes that a float32 picture in tiles and its answer take at most where tiles are put together, until its pixels are counted.

    Args:
        size: Height and width of the picture.
        classes: Number of classes.
        channels: Of the picture.
    """
    return math.prod(size) * (4 * channels + max(each * classes + beside for each, beside in (_MADE, _COUNTED)))


def blended(
    answer: Callable[[Tensor], Tensor], x: Tensor, *, tile: int, overlap: int, place: torch.device = _CPU
) -> Tensor:  # fmt: skip
    """Return the answer (1, classes, H, W) for a picture (1, channels, H, W).

    Where tiles overlap, the answer is their mean; what a tile says counts the less the nearer to its edge it is.

    Args:
        answer: From a picture or a tile to (1, classes, its height, its width).
        x: The picture.
        tile: Height and width of a tile; of a side of the picture that is shorter, the whole side.
        overlap: Pixels that a tile shares with the next one, at least; less than a tile.
        place: Where tiles are put together. On the CPU the answer needs no memory of a GPU, which is waited for after each tile.
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return answer(x).float().to(place)
    across = _weights(min(tile, width), overlap, place)
    down = _weights(min(tile, height), overlap, place)
    weights = down[:, None] * across[None, :]
    counted = torch.zeros(height, width, device=place)
    total: Tensor | None = None
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            at = (..., slice(top, top + len(down)), slice(left, left + len(across)))
            found = answer(x[at].contiguous()).float().to(place)
            total = torch.zeros(1, found.shape[1], height, width, device=place) if total is None else total
            total[at] += found * weights
            counted[at] += weights
    assert total is not None
    return total.div_(counted)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along a side; the last one ends with it."""
    last = max(0, side - tile)
    return [*range(0, last, tile - overlap), last]


def _weights(length: int, overlap: int, device: torch.device) -> Tensor:
    """Return what the pixels along a tile count: less than 1 within `overlap` of an edge."""
    at = torch.arange(length, device=device)
    edge = torch.minimum(at, length - 1 - at) + 1.0
    return (edge / max(1, overlap)).clamp(max=1)
