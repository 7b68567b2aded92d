"""Apply to masks what a recipe's augmentations do to their pictures, by the same draws: crops, flips, turns and elastic shifts.

The rule: a pixel of the result has the value of one pixel of the mask, the nearest, or is ignored where a picture has nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment.draws import Draws, Positions
from tlkit.engine.augment.elastic import nearest_moved
from tlkit.engine.augment.parameters import Parameters, parameters
from tlkit.engine.augment.rotation import nearest_turned
from tlkit.plugin import IGNORED
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size


def augment_masks(
    masks: Tensor, tables: Sequence[Augmentation], draws: Draws, *, size: Size, extents: Positions | None = None
) -> Tensor:
    """Apply the geometric augmentations of a list, in its order.

    Args:
        masks: (n, H, W) uint8 on the CPU.
        tables: The recipe's data.augment; those of colour are left out, and erased windows keep their classes.
        draws: Random numbers of the images, the same as of their pictures.
        size: Height and width of the result, pixels.
        extents: (n, 2) height and width of what each picture covers: see `augment`.

    Returns:
        (n, *size) uint8.
    """
    held = int(masks.shape[1]), int(masks.shape[2])
    drawn = parameters(tables, draws, held=held, size=size, shapes=None, extents=extents)
    for table, each in zip(tables, drawn, strict=True):
        masks = _apply(masks, table, each, size)
    return masks.contiguous()


def _apply(masks: Tensor, table: Augmentation, drawn: Parameters, size: Size) -> Tensor:
    match table:
        case augmentations.RandomCrop():
            if table.padding is not None:
                masks = functional.pad(masks, (table.padding,) * 4, value=IGNORED)
            places = zip(masks, drawn["top"].tolist(), drawn["left"].tolist(), strict=True)
            return torch.stack([mask[top : top + size[0], left : left + size[1]] for mask, top, left in places])
        case augmentations.RandomResizedCrop():
            return _windows(masks, drawn, size)
        case augmentations.HFlip():
            return torch.stack([mask.flip(1) if flip else mask for mask, flip in zip(masks, drawn["flip"], strict=True)])
        case augmentations.VFlip():
            return torch.stack([mask.flip(0) if flip else mask for mask, flip in zip(masks, drawn["flip"], strict=True)])
        case augmentations.Rotate(steps=None):
            return nearest_turned(masks, drawn["degrees"], IGNORED)
        case augmentations.Rotate():
            return torch.stack([mask.rot90(int(k), (0, 1)) for mask, k in zip(masks, drawn["quarters"], strict=True)])
        case augmentations.Elastic():
            return nearest_moved(masks, drawn["shifts"], IGNORED)
        case _:
            return masks


def _windows(masks: Tensor, drawn: Parameters, size: Size) -> Tensor:
    """Resize windows to one size by the nearest pixel, whose middle is nearest."""
    found = []
    for index, mask in enumerate(masks):
        top, left, height, width = (int(drawn[name][index]) for name in ("top", "left", "height", "width"))
        window = mask[None, None, top : top + height, left : left + width]
        found.append(functional.interpolate(window, size=size, mode="nearest-exact")[0, 0])
    return torch.stack(found)
