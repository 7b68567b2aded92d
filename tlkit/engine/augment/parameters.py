"""What is drawn for each image: places, windows, angles, amounts. Both forms of an augmentation, per image and per batch, read them.

The rule: a parameter of an image depends on seed, epoch and image alone, so it may be drawn for one image or a whole epoch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.engine.augment import elastic
from tlkit.engine.augment.draws import Draw, Draws, Positions
from tlkit.engine.augment.windows import Shapes, windows
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size

Parameters = dict[str, NDArray[Any]]  # each (n, ...)

_ORDERS = np.array(list(permutations(range(4))))  # (24, 4)
_OPERATIONS = 14  # of RandAugment


def parameters(
    tables: Sequence[Augmentation], draws: Draws, *, held: Size, size: Size, shapes: Shapes | None,
    extents: Positions | None = None,
) -> list[Parameters]:  # fmt: skip
    """Return the parameters of each augmentation, in the order of the list.

    Args:
        tables: The recipe's data.augment.
        draws: Random numbers of the images.
        held: Height and width of the pictures before the first augmentation.
        size: Height and width of the result.
        shapes: (n,) width / height of the images that the pictures hold whole, squashed to one size; None where they have their own.
        extents: (n, 2) height and width of what each picture covers, from its upper left; None for all.
    """
    found = []
    for table in tables:
        found.append(_of(table, draws, held, size, shapes, extents))
        held = after(table, held, size)
    return found


def after(table: Augmentation, held: Size, size: Size) -> Size:
    """Return the size of pictures after an augmentation."""
    return size if isinstance(table, augmentations.RandomCrop | augmentations.RandomResizedCrop) else held


def _of(
    table: Augmentation, draws: Draws, held: Size, size: Size, shapes: Shapes | None, extents: Positions | None
) -> Parameters:
    match table:
        case augmentations.RandomCrop():
            added = 2 * (table.padding or 0)
            tall, wide = held if extents is None else extents.T
            return {
                "top": draws.below(Draw.CROP_Y, tall + added - size[0] + 1),
                "left": draws.below(Draw.CROP_X, wide + added - size[1] + 1),
            }
        case augmentations.RandomResizedCrop():
            return _window(table, draws, held, size, shapes, extents)
        case augmentations.HFlip():
            return {"flip": draws.uniform(Draw.FLIP) < table.p}
        case augmentations.VFlip():
            return {"flip": draws.uniform(Draw.VFLIP) < table.p}
        case augmentations.Rotate():
            if table.steps is None:
                return {"degrees": draws.between(Draw.ANGLE, -table.degrees, table.degrees)}
            return {"quarters": draws.below(Draw.ANGLE, 360 // table.steps) * (table.steps // 90)}
        case augmentations.Elastic():
            return {"shifts": elastic.shifts(table, draws)}
        case augmentations.ColorJitter():
            return _jitter(table, draws)
        case augmentations.RandomErasing():
            return _erased(table, draws, held)
        case augmentations.RandAugment():
            return {
                "operations": np.stack([draws.below(Draw.OPERATIONS + turn, _OPERATIONS) for turn in range(table.ops)], axis=1),
                "negative": np.stack([draws.uniform(Draw.SIGNS + turn) < 0.5 for turn in range(table.ops)], axis=1),
            }
        case augmentations.Mixup() | augmentations.Cutmix():  # see `mix`
            return {}


def _window(
    table: augmentations.RandomResizedCrop, draws: Draws, held: Size, size: Size, shapes: Shapes | None,
    extents: Positions | None,
) -> Parameters:  # fmt: skip
    """Draw windows of the input's shape, times `ratio`, as they are in the original: a squashed window has the same part of the area."""
    height, width = held
    squashed: Shapes | float = 1.0 if shapes is None else (width / height) / shapes
    aspect = width / height if shapes is None and extents is None else size[1] / size[0]
    ratio = table.ratio[0] * aspect * squashed, table.ratio[1] * aspect * squashed
    covered = held if extents is None else (extents[:, 0], extents[:, 1])
    drawn = windows(draws, table.scale, ratio, size=covered, first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS))
    down, across = drawn.room()
    top, left = draws.below(Draw.WINDOW_Y, down), draws.below(Draw.WINDOW_X, across)
    return {"top": top, "left": left, "height": drawn.height, "width": drawn.width}


def _jitter(table: augmentations.ColorJitter, draws: Draws) -> Parameters:
    """Draw the order of the four changes, and the amount of each: brightness, contrast, saturation, hue."""
    ranges = (
        (Draw.BRIGHTNESS, table.brightness, 1),
        (Draw.CONTRAST, table.contrast, 1),
        (Draw.SATURATION, table.saturation, 1),
        (Draw.HUE, table.hue, 0),
    )
    amounts = [draws.between(draw, middle - most, middle + most) for draw, most, middle in ranges]
    return {"order": _ORDERS[draws.below(Draw.JITTER_ORDER, len(_ORDERS))], "amounts": np.stack(amounts, axis=1)}


def _erased(table: augmentations.RandomErasing, draws: Draws, held: Size) -> Parameters:
    drawn = windows(draws, table.scale, table.ratio, size=held, first=(Draw.ERASE_AREAS, Draw.ERASE_RATIOS))
    down, across = drawn.room()
    return {
        "erased": (draws.uniform(Draw.ERASE) < table.p) & drawn.fits,
        "top": draws.below(Draw.ERASE_Y, down),
        "left": draws.below(Draw.ERASE_X, across),
        "height": drawn.height,
        "width": drawn.width,
        "noise": draws.states(Draw.ERASE_NOISE),
    }
