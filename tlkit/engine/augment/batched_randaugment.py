"""RandAugment of a whole batch at a time: every picture goes through one move, one table of levels and one blend a turn.

The rule: of the three, those that a picture did not draw change nothing, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment import colour
from tlkit.engine.augment.draws import Positions
from tlkit.engine.augment.gathering import gathered
from tlkit.engine.augment.randaugment import CHANGES, MOST, blurred, equalizing, stretched
from tlkit.recipe import augmentations
from tlkit.units import Size

_NAMES = tuple(CHANGES)
_MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_LEVELS = ("Brightness", "Posterize", "Solarize")  # each level becomes another one, the same in every picture
_BLENDS = ("Color", "Sharpness")


class BatchedRandAugment:
    """RandAugment for batches of pictures of one size; what each picture drew is a code, twice the operation and one if negative.

    Args:
        table: How many operations, and how strong.
        held: Height and width of the pictures.
        device: The device that pictures are on.
    """

    def __init__(self, table: augmentations.RandAugment, held: Size, device: torch.device) -> None:
        whole = torch.arange(1, held[0] * held[1] + 1, dtype=torch.int32).view(1, *held, 1)  # 0 is outside
        levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(1, 1, 256, 3)
        moves, tables = [whole.flatten() - 1], [levels[0, 0, :, 0]]
        move_of, table_of, factors = (
            np.zeros(2 * len(_NAMES), np.int64),
            np.zeros(2 * len(_NAMES), np.int64),
            np.ones(2 * len(_NAMES)),
        )
        for number, (name, (change, signed)) in enumerate(CHANGES.items()):
            for negative in (0, 1):
                code, magnitude = 2 * number + negative, -table.magnitude if negative and signed else table.magnitude
                if name in _MOVES:
                    move_of[code] = len(moves)
                    moves.append(change(whole, magnitude).flatten() - 1)
                elif name in _LEVELS:
                    table_of[code] = len(tables)
                    tables.append(change(levels, magnitude)[0, 0, :, 0])
                if name in ("Contrast", *_BLENDS):
                    factors[code] = 1 + 0.9 * magnitude / MOST
        self._moves, self._tables = torch.stack(moves).to(device), torch.stack(tables).float().to(device)
        self._move_of, self._table_of = torch.from_numpy(move_of).to(device), torch.from_numpy(table_of).to(device)
        self._factors = torch.from_numpy(factors.astype(np.float32)).to(device)
        self._every_level = torch.arange(256, dtype=torch.float32, device=device)
        self._one = torch.ones((), device=device)

    @staticmethod
    def codes(operations: Positions, negative: NDArray[np.bool_]) -> Positions:
        """Return what each picture drew, (n, turns)."""
        return 2 * operations + negative

    def __call__(self, pictures: Tensor, codes: Tensor) -> Tensor:
        """Return (n, H, W, 3) uint8.

        Args:
            pictures: (n, H, W, 3) uint8.
            codes: (n, turns).
        """
        for code in codes.unbind(1):
            pictures = gathered(pictures, self._moves, self._move_of[code])
            pictures = self._blended(self._levelled(colour.planar(pictures), code), code)
        return pictures

    def _levelled(self, x: Tensor, code: Tensor) -> Tensor:
        """Give each picture (n, 3, H, W) the levels of its table; those that depend on the picture are computed from it."""
        is_ = {name: (code // 2 == _NAMES.index(name))[:, None, None] for name in ("Contrast", "AutoContrast", "Equalize")}
        levels = self._every_level[None, None, :]
        tables = self._tables[self._table_of[code]][:, None, :]  # (n, 1, 256)
        grey = colour.mean_grey(x)[:, 0]  # (n, 1, 1)
        tables = torch.where(is_["Contrast"], colour.blended(levels, grey, self._factors[code][:, None, None]), tables)
        least, most = x.amin((2, 3))[:, :, None], x.amax((2, 3))[:, :, None]  # (n, 3, 1)
        tables = torch.where(is_["AutoContrast"], stretched(levels, least, most).clamp_(0, 255), tables)  # (n, 3, 256)
        places = x.flatten(2).long()  # (n, 3, H W)
        equal = equalizing(_counted(places), most.long(), places.shape[2]).float()
        tables = torch.where(is_["Equalize"], equal, tables)
        return tables.gather(2, places).view(x.shape)

    def _blended(self, x: Tensor, code: Tensor) -> Tensor:
        """Blend each picture with its grey or its blur, or with itself."""
        name = code // 2
        sharpens = (name == _NAMES.index("Sharpness"))[:, None, None, None]
        blends = sharpens | (name == _NAMES.index("Color"))[:, None, None, None]
        soft = x.clone()
        soft[:, :, 1:-1, 1:-1] = blurred(x)
        factors = torch.where(blends, self._factors[code][:, None, None, None], self._one)
        return colour.packed(colour.blended(x, torch.where(sharpens, soft, colour.grey(x)), factors))


def _counted(places: Tensor) -> Tensor:
    """Return how many pixels have each level: (n, 3, 256) from (n, 3, H * W)."""
    counts = torch.zeros((*places.shape[:2], 256), dtype=torch.int64, device=places.device)
    one = torch.ones((), dtype=torch.int64, device=places.device).expand(places.shape)
    with _any_order():
        return counts.scatter_add_(2, places, one)


@contextmanager
def _any_order() -> Iterator[None]:
    """Let torch add in any order: whole numbers add up to the same, and in an order it has no kernel for a sum by place."""
    before, only_warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
