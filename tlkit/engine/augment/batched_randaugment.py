"""RandAugment of a whole batch at a time: in each turn, what the pictures drew is computed for those that drew it, kind by kind.

The rule: the host knows what was drawn, so it knows how many pictures of each kind there are, and reads nothing back. A turn begins by
putting the pictures in the order of their kinds, which the host has found; then those of one kind lie side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment import colour
from tlkit.engine.augment.draws import Positions
from tlkit.engine.augment.randaugment import CHANGES, MOST, blurred, equalizing, stretched
from tlkit.recipe import augmentations
from tlkit.tasks.number_counts import COPIES, counted
from tlkit.units import Size


class _Kind(IntEnum):
    """What an operation does to a picture; from `CONTRAST` on, each level of a channel becomes another one."""

    NOTHING = 0
    MOVE = 1
    SHARPNESS = 2
    COLOR = 3
    CONTRAST = 4
    TABLE = 5  # the same in every picture
    AUTOCONTRAST = 6
    EQUALIZE = 7


_KINDS = {
    "Identity": _Kind.NOTHING,
    **dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), _Kind.MOVE),
    **dict.fromkeys(("Brightness", "Posterize", "Solarize"), _Kind.TABLE),
    **{name: _Kind[name.upper()] for name in ("Color", "Sharpness", "Contrast", "AutoContrast", "Equalize")},
}
_KIND_OF = np.repeat([_KINDS[name] for name in CHANGES], 2)  # of each code
_NUMBER = np.zeros(len(_KIND_OF), np.int64)  # of each code of a kind that is looked up, its number among these
for _kind in (_Kind.MOVE, _Kind.TABLE):
    _mine = np.flatnonzero(np.equal(_KIND_OF, _kind))
    _NUMBER[_mine] = np.arange(len(_mine))
_LEVELS = 256


class BatchedRandAugment:
    """RandAugment for batches of pictures of one size; what each picture drew is a code, twice the operation and one if negative.

    Args:
        table: How many operations, and how strong.
        held: Height and width of the pictures.
        device: The device that pictures are on.
    """

    def __init__(self, table: augmentations.RandAugment, held: Size, device: torch.device) -> None:
        self._device, self._pixels = device, held[0] * held[1]
        whole = torch.arange(1, self._pixels + 1, dtype=torch.int32).view(1, *held, 1)  # 0 is outside
        levels = torch.arange(_LEVELS, dtype=torch.uint8).view(1, 1, _LEVELS, 1).expand(1, 1, _LEVELS, 3)
        moves: list[Tensor] = []
        tables: list[Tensor] = []
        for code, kind in enumerate(_KIND_OF):
            change, _ = list(CHANGES.values())[code // 2]
            if kind == _Kind.MOVE:
                moves.append(change(whole, _magnitude(table, code)).flatten())
            elif kind == _Kind.TABLE:
                tables.append(change(levels, _magnitude(table, code))[0, 0].T)
        places = torch.stack(moves)  # (moves, H W)
        self._moves, self._inside = (places - 1).clamp_(min=0).to(device), (places > 0).to(torch.uint8).to(device)
        self._tables = torch.stack(tables).float().to(device)  # (tables, 3, 256)
        self._levels = torch.arange(_LEVELS, dtype=torch.float32, device=device).repeat(3, 1)  # (3, 256)
        pixel = torch.arange(self._pixels)[:, None]
        self._counters = (pixel % COPIES * 3 * _LEVELS + torch.arange(0, 3 * _LEVELS, _LEVELS)).to(device)  # (H W, 3)
        self._reserve_(1)

    def _reserve_(self, pictures: int) -> None:
        """Know where each of so many pictures begins, and the table of each of its channels."""
        self._room, total = pictures, pictures * self._pixels
        whole = torch.int32 if total < 1 << 31 else torch.int64
        self._first = torch.arange(0, total, self._pixels, dtype=whole, device=self._device)[:, None]  # (pictures, 1)
        begins = torch.arange(0, pictures * 3 * _LEVELS, _LEVELS, dtype=torch.int32, device=self._device)
        self._begins = begins.view(pictures, 1, 1, 3)

    @staticmethod
    def codes(operations: Positions, negative: NDArray[np.bool_]) -> Positions:
        """Return what each picture drew, (n, turns)."""
        return 2 * operations + negative

    @staticmethod
    def sorted_by_kind(
        table: augmentations.RandAugment, codes: Positions, batches: Sequence[slice]
    ) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
        """Return how the pictures of each batch are put in order, and what they drew, in that order.

        Args:
            table: How strong the operations are.
            codes: (n, turns) what each picture drew.
            batches: Which pictures are a batch each, all of them together.

        Returns:
            "order 0" and so on (n,): where each picture of a batch is taken from, in each turn and at the end, when all are put back;
            "which" (n, turns): number of the move or of the table of the pictures as they lie in each turn; "factors" (n, turns) float32:
            by how much colours, sharpness and contrast change.
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
        factors = np.array([1 + 0.9 * _magnitude(table, code) / MOST for code in range(len(_KIND_OF))], np.float32)
        found = {f"order {turn}": order for turn, order in enumerate(orders)}
        return found | {"which": _NUMBER[lying], "factors": factors[lying]}

    def __call__(self, pictures: Tensor, drawn: Mapping[str, Tensor], known: Positions) -> Tensor:
        """Return (n, H, W, 3) uint8.

        Args:
            pictures: (n, H, W, 3) uint8.
            drawn: What `sorted_by_kind` returns for this batch.
            known: (n, turns) what each picture drew, on the host.
        """
        if len(pictures) > self._room:
            self._reserve_(len(pictures))
        turns, which, factors = known.shape[1], drawn["which"], drawn["factors"][:, :, None, None, None]
        for turn in range(turns):
            pictures = pictures.index_select(0, drawn[f"order {turn}"])
            counts = np.bincount(_KIND_OF[known[:, turn]], minlength=len(_Kind))
            self._change_(pictures, which[:, turn], factors[:, turn], counts)
        return pictures.index_select(0, drawn[f"order {turns}"])

    def _change_(self, pictures: Tensor, which: Tensor, factors: Tensor, counts: Positions) -> None:
        """Change the pictures (n, H, W, 3), which lie in the order of their kinds, so many of each."""
        ends = [0, *counts.cumsum().tolist()]
        of = {kind: slice(ends[kind], ends[kind + 1]) for kind in _Kind}
        if counts[_Kind.MOVE]:
            some = of[_Kind.MOVE]
            pictures[some] = self._moved(pictures[some], which[some])
        grey: Tensor | None = None
        some = slice(of[_Kind.SHARPNESS].start, of[_Kind.CONTRAST].stop)
        if some.start < some.stop:
            changed = slice(some.start, of[_Kind.COLOR].stop)
            x = colour.planar(pictures[some])
            grey = _recoloured_(x, factors[changed], int(counts[_Kind.SHARPNESS]), int(counts[_Kind.COLOR]))
            if changed.start < changed.stop:
                pictures[changed] = x[: changed.stop - changed.start].permute(0, 2, 3, 1)
        looked_up = slice(of[_Kind.CONTRAST].start, len(pictures))
        if looked_up.start < looked_up.stop:
            tables = self._tables_of(pictures, which, factors, of, grey)
            pictures[looked_up] = self._looked_up(pictures[looked_up], torch.cat(tables).to(torch.uint8))

    def _moved(self, pictures: Tensor, which: Tensor) -> Tensor:
        """Return pictures (k, H, W, 3) whose pixels come from elsewhere in them, by moves (k,); black from outside."""
        places = self._moves.index_select(0, which) + self._first[: len(pictures)]  # (k, H W)
        taken = pictures.flatten(0, 2).index_select(0, places.flatten())  # (k H W, 3)
        return taken.mul_(self._inside.index_select(0, which).view(-1, 1)).view(pictures.shape)

    def _tables_of(
        self, pictures: Tensor, which: Tensor, factors: Tensor, of: Mapping[_Kind, slice], grey: Tensor | None
    ) -> list[Tensor]:
        """Return the level (k, 3, 256), in which a part of 1 says nothing, that each level of each channel becomes, kind by kind.

        Args:
            pictures: (n, H, W, 3), in the order of their kinds.
            which: (n,) number of the table.
            factors: (n, 1, 1, 1) of the contrast.
            of: The pictures of each kind.
            grey: Levels (k, 1, H, W) of those whose contrast changes.
        """
        found: list[Tensor] = []
        if grey is not None and len(grey):
            found.append(_blended(self._levels, colour.mean_of(grey)[:, 0], factors[of[_Kind.CONTRAST], 0]))
        if (some := of[_Kind.TABLE]).start < some.stop:
            found.append(self._tables.index_select(0, which[some]))
        stretched_, equalized = of[_Kind.AUTOCONTRAST], of[_Kind.EQUALIZE]
        if stretched_.start == equalized.stop:
            return found
        pixels = pictures[stretched_.start : equalized.stop].flatten(1, 2)  # (k, H W, 3)
        least, most = (each[:, :, None] for each in torch.aminmax(pixels, dim=1))
        first = stretched_.stop - stretched_.start
        if first:
            found.append(stretched(self._levels, least[:first], most[:first]).clamp_(0, 255))
        if first < len(pixels):
            counts = self._counted(pixels[first:])
            found.append(equalizing(counts, most[first:].long(), self._pixels, levels=self._levels))
        return found

    def _counted(self, pixels: Tensor) -> Tensor:
        """Return how many pixels (k, H W, 3) have each level: (k, 3, 256)."""
        counts = counted((self._counters + pixels).flatten(1), COPIES * 3 * _LEVELS)
        return counts.view(len(pixels), COPIES, 3, _LEVELS).sum(1)

    def _looked_up(self, pictures: Tensor, tables: Tensor) -> Tensor:
        """Return pictures (k, H, W, 3) with the levels of their tables (k, 3, 256)."""
        places = self._begins[: len(pictures)] + pictures
        return tables.flatten().index_select(0, places.flatten()).view(pictures.shape)


def _magnitude(table: augmentations.RandAugment, code: int) -> int:
    """Return the magnitude of a code's operation, with its sign."""
    _, signed = list(CHANGES.values())[code // 2]
    return -table.magnitude if signed and code % 2 else table.magnitude


def _recoloured_(x: Tensor, factors: Tensor, sharpened: int, saturated: int) -> Tensor:
    """Change the sharpness of the first pixels (k, 3, H, W), and the colours of those behind them; the others stay.

    Args:
        x: Float32, in whole numbers; after it from 0 to 255, a part of 1 says nothing.
        factors: (sharpened + saturated, 1, 1, 1).
        sharpened: How many are sharpened.
        saturated: How many have their colours changed.

    Returns:
        Grey levels (k, 1, H, W) of the others.
    """
    changed, grey = sharpened + saturated, colour.grey(x[sharpened:]) if sharpened < len(x) else x[:0, :1]
    if sharpened:
        other = blurred(x[:sharpened])
        x[:sharpened, :, 1:-1, 1:-1].sub_(other).mul_(factors[:sharpened]).add_(other)
    if saturated:
        x[sharpened:changed].sub_(grey[:saturated]).mul_(factors[sharpened:]).add_(grey[:saturated])
    if changed:
        x[:changed].clamp_(0, 255)
    return grey[saturated:]


def _blended(x: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """Return `colour.blended` before it is rounded down."""
    return ((x - other) * factors).add_(other).clamp_(0, 255)
