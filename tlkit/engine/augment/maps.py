"""Where places in pictures go by a recipe's augmentations, for targets that say where something is: the same draws as the pictures have.

The rule: a place is a distance in pixels from the left and the upper side of a picture, not the number of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment.draws import Draws, Positions
from tlkit.engine.augment.parameters import Parameters, after, parameters
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size

_Maps = NDArray[np.float64]  # (n, 3, 3), from (x, y, 1) to (x, y, 1)
_QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])  # counterclockwise, where y goes down


def scaled_by(factor: float, images: int) -> Tensor:
    """Return maps (images, 2, 3) float64 that multiply both coordinates."""
    return torch.tensor([[factor, 0, 0], [0, factor, 0]], dtype=torch.float64).repeat(images, 1, 1)


def maps_of(
    before: Tensor, tables: Sequence[Augmentation], draws: Draws, *, held: Size, size: Size, extents: Positions | None = None
) -> Tensor:
    """Return maps (n, 2, 3) float64: x and y of a place after all augmentations are sums of its x, its y and 1, times these numbers.

    Args:
        before: (n, 2, 3), from the pictures as they are to those that the first augmentation is given.
        tables: The recipe's data.augment; those of colour move nothing.
        draws: Random numbers of the images, the same as of their pictures.
        held: Height and width of the pictures before the first augmentation.
        size: Height and width of the result, pixels.
        extents: (n, 2) height and width of what each picture covers: see `augment`.

    Raises:
        ValueError: one of them turns by any angle, or moves pixels otherwise; a task refuses it before.
    """
    whole = np.tile(np.eye(3), (len(before), 1, 1))
    whole[:, :2] = before.numpy()
    drawn = parameters(tables, draws, held=held, size=size, shapes=None, extents=extents)
    for table, each in zip(tables, drawn, strict=True):
        whole = _of(table, each, held, size, len(before)) @ whole
        held = after(table, held, size)
    return torch.from_numpy(whole[:, :2])


def _of(table: Augmentation, drawn: Parameters, held: Size, size: Size, images: int) -> _Maps:
    """Return the maps of one augmentation."""
    height, width = held
    maps = np.tile(np.eye(3), (images, 1, 1))
    match table:
        case augmentations.RandomCrop():
            maps[:, 0, 2] = (table.padding or 0) - drawn["left"]
            maps[:, 1, 2] = (table.padding or 0) - drawn["top"]
        case augmentations.RandomResizedCrop():
            for row, start, length, side in ((0, "left", "width", size[1]), (1, "top", "height", size[0])):
                maps[:, row, row] = side / drawn[length]
                maps[:, row, 2] = -drawn[start] * side / drawn[length]
        case augmentations.HFlip():
            maps[drawn["flip"], 0] = (-1, 0, width)
        case augmentations.VFlip():
            maps[drawn["flip"], 1] = (0, -1, height)
        case augmentations.Rotate(steps=int()):
            middle = np.array([width, height]) / 2
            for index, quarters in enumerate(drawn["quarters"].tolist()):
                turn = np.linalg.matrix_power(_QUARTER, quarters)
                maps[index, :2, :2], maps[index, :2, 2] = turn, middle - turn @ middle
        case (
            augmentations.Rotate()
            | augmentations.Elastic()
            | augmentations.RandAugment()
            | augmentations.Mixup()
            | augmentations.Cutmix()
        ):
            raise ValueError(f"{table.name} moves no places")
        case _:
            pass
    return maps
