"""RandAugment of a whole batch at a time: in each turn, what the pictures drew is computed for those that drew it, kind by kind.

The rule: the host knows what was drawn, so it knows how many pictures of each kind there are, and reads nothing back. A turn begins by
putting the pictures in the order of their kinds, which the host has found; then those of one kind lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum

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


class _Kind(IntEnum):
    """What an operation does to a picture; from `TABLE` on, each level of a channel becomes another one."""

    NOTHING = 0
    MOVE = 1
    COLOR = 2
    SHARPNESS = 3
    TABLE = 4  # the same in every picture
    CONTRAST = 5
    AUTOCONTRAST = 6
    EQUALIZE = 7


_KINDS = {
    "Identity": _Kind.NOTHING,
    **dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), _Kind.MOVE),
    **dict.fromkeys(("Brightness", "Posterize", "Solarize"), _Kind.TABLE),
    **{name: _Kind[name.upper()] for name in ("Color", "Sharpness", "Contrast", "AutoContrast", "Equalize")},
}
_KIND_OF = np.repeat([_KINDS[name] for name in CHANGES], 2)  # of each code
_LEVELS = 256
# Counters of each level: neighbouring pixels, which often have one level, add to different ones, since additions to one wait for each other.
_COPIES = 32


class BatchedRandAugment:
    """RandAugment for batches of pictures of one size; what each picture drew is a code, twice the operation and one if negative.

    Args:
        table: How many operations, and how strong.
        held: Height and width of the pictures.
        device: The device that pictures are on.
    """

    def __init__(self, table: augmentations.RandAugment, held: Size, device: torch.device) -> None:
        whole = torch.arange(1, held[0] * held[1] + 1, dtype=torch.int32).view(1, *held, 1)  # 0 is outside
        levels = torch.arange(_LEVELS, dtype=torch.uint8).view(1, 1, _LEVELS, 1).expand(1, 1, _LEVELS, 3)
        codes = 2 * len(CHANGES)
        moves: list[Tensor] = []
        tables: list[Tensor] = []
        which, factors = np.zeros(codes, np.int64), np.ones(codes, np.float32)
        for number, (change, signed) in enumerate(CHANGES.values()):
            for code, sign in ((2 * number, 1), (2 * number + 1, -1 if signed else 1)):
                magnitude = sign * table.magnitude
                factors[code] = 1 + 0.9 * magnitude / MOST
                if _KIND_OF[code] == _Kind.MOVE:
                    which[code] = len(moves)
                    moves.append(change(whole, magnitude).flatten() - 1)
                elif _KIND_OF[code] == _Kind.TABLE:
                    which[code] = len(tables)
                    tables.append(change(levels, magnitude)[0, 0, :, 0])
        pixel = torch.arange(held[0] * held[1])[:, None]
        self._moves, self._tables = torch.stack(moves).to(device), torch.stack(tables).float().to(device)
        self._which, self._factors = torch.from_numpy(which).to(device), torch.from_numpy(factors).to(device)
        self._levels = torch.arange(_LEVELS, dtype=torch.float32, device=device)
        self._channels = torch.arange(0, 3 * _LEVELS, _LEVELS, dtype=torch.int32, device=device)
        self._one = torch.ones((), dtype=torch.int32, device=device)
        self._counters = (pixel % _COPIES * 3 * _LEVELS + torch.arange(0, 3 * _LEVELS, _LEVELS)).to(device)  # (H W, 3)

    @staticmethod
    def codes(operations: Positions, negative: NDArray[np.bool_]) -> Positions:
        """Return what each picture drew, (n, turns)."""
        return 2 * operations + negative

    @staticmethod
    def sorted_by_kind(codes: Positions, batches: Sequence[slice]) -> dict[str, Positions]:
        """Return how the pictures of each batch are put in order, and what they drew, in that order.

        Args:
            codes: (n, turns) what each picture drew.
            batches: Which pictures are a batch each, all of them together.

        Returns:
            "order 0" and so on (n,): where each picture of a batch is taken from, in each turn and at the end, when all are put back;
            "codes" (n, turns): of the pictures as they lie in each turn.
        """
        turns = codes.shape[1]
        orders, lying = np.empty((turns + 1, len(codes)), np.int64), np.empty_like(codes)
        for rows in batches:
            mine = codes[rows]
            own = np.arange(len(mine))  # the place that each picture came with
            for turn in range(turns):
                order = np.argsort(_KIND_OF[mine[own, turn]], kind="stable")
                own = own[order]
                orders[turn, rows], lying[rows, turn] = order, mine[own, turn]
            orders[turns, rows] = np.argsort(own)
        return {f"order {turn}": order for turn, order in enumerate(orders)} | {"codes": lying}

    def __call__(self, pictures: Tensor, drawn: Mapping[str, Tensor], known: Positions) -> Tensor:
        """Return (n, H, W, 3) uint8.

        Args:
            pictures: (n, H, W, 3) uint8.
            drawn: What `sorted_by_kind` returns for this batch.
            known: (n, turns) what each picture drew, on the host.
        """
        turns, codes = known.shape[1], drawn["codes"]
        which, factors = self._which[codes], self._factors[codes][:, :, None, None, None]
        for turn in range(turns):
            pictures = pictures.index_select(0, drawn[f"order {turn}"])
            counts = np.bincount(_KIND_OF[known[:, turn]], minlength=len(_Kind))
            self._change_(pictures, which[:, turn], factors[:, turn], counts)
        return pictures.index_select(0, drawn[f"order {turns}"])

    def _change_(self, pictures: Tensor, which: Tensor, factors: Tensor, counts: Positions) -> None:
        """Change the pictures (n, H, W, 3), which lie in the order of their kinds, so many of each."""
        ends = counts.cumsum().tolist()
        of = {kind: slice(end - count, end) for kind, end, count in zip(_Kind, ends, counts.tolist(), strict=True) if count}
        if (some := of.get(_Kind.MOVE)) is not None:
            pictures[some] = gathered(pictures[some], self._moves, which[some], black=True)
        if (some := of.get(_Kind.COLOR)) is not None:
            x = colour.planar(pictures[some])
            pictures[some] = colour.blended(x, colour.grey(x), factors[some]).permute(0, 2, 3, 1)
        if (some := of.get(_Kind.SHARPNESS)) is not None:
            x = colour.planar(pictures[some])
            inner = x[:, :, 1:-1, 1:-1]
            x[:, :, 1:-1, 1:-1] = colour.blended(inner, blurred(x), factors[some])
            pictures[some] = x.permute(0, 2, 3, 1)
        first = ends[_Kind.SHARPNESS]
        if first < len(pictures):
            tables = [
                self._table(kind, pictures[of[kind]], which[of[kind]], factors[of[kind]]) for kind in of if kind >= _Kind.TABLE
            ]
            pictures[first:] = self._looked_up(pictures[first:], torch.cat(tables).to(torch.uint8))

    def _table(self, kind: _Kind, pictures: Tensor, which: Tensor, factors: Tensor) -> Tensor:
        """Return the level (k, 3, 256), in whole numbers, that each level of each channel of pictures (k, H, W, 3) becomes."""
        shape, pixels = (len(pictures), 3, _LEVELS), pictures.flatten(1, 2)  # (k, H W, 3)
        match kind:
            case _Kind.TABLE:
                return self._tables[which][:, None].expand(shape)
            case _Kind.CONTRAST:
                grey = colour.mean_grey(colour.planar(pictures))
                return colour.blended(self._levels, grey, factors)[:, 0].expand(shape)
            case _Kind.AUTOCONTRAST:
                least, most = (each.float()[:, :, None] for each in torch.aminmax(pixels, dim=1))
                return stretched(self._levels, least, most).clamp_(0, 255)
            case _:
                return equalizing(self._counted(pixels), pixels.amax(1)[:, :, None].long(), pixels.shape[1])

    def _counted(self, pixels: Tensor) -> Tensor:
        """Return how many pixels (k, H W, 3) have each level: (k, 3, 256)."""
        counts = torch.zeros((len(pixels), _COPIES * 3 * _LEVELS), dtype=torch.int32, device=pixels.device)
        places = (self._counters + pixels).flatten(1)
        with _any_order():
            counts.scatter_add_(1, places, self._one.expand(places.shape))
        return counts.view(len(pixels), _COPIES, 3, _LEVELS).sum(1)

    def _looked_up(self, pictures: Tensor, tables: Tensor) -> Tensor:
        """Return pictures (k, H, W, 3) with the levels of their tables (k, 3, 256)."""
        begins = torch.arange(0, tables.numel(), 3 * _LEVELS, dtype=torch.int32, device=pictures.device)
        places = (begins[:, None] + self._channels)[:, None, None] + pictures
        return tables.flatten().index_select(0, places.flatten()).view(pictures.shape)


@contextmanager
def _any_order() -> Iterator[None]:
    """Let torch add in any order: whole numbers add up to the same, and in an order it has no kernel for a sum by place."""
    before, only_warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
