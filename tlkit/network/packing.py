"""Carry the outputs of several stages through a network, and over a cut in one tensor.

The rule: packing moves values and computes nothing, so a network that is cut gives the bits of the whole one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tlkit.network import shapes, tokens
from tlkit.plans import packing
from tlkit.plans.packing import Shape
from tlkit.units import Size


@dataclass(frozen=True)
class Carried:
    """The outputs that a network has computed so far.

    Attributes:
        size: Height and width of the images, pixels; of a cut network without a head of several stages, of its input.
        last: The output of the last stage that was run, or the images.
        kept: Of earlier stages what is read later, by the stage's number: their outputs, or the means of these over the picture.
    """

    size: Size
    last: Tensor
    kept: Mapping[int, Tensor] = field(default_factory=dict)


class Packing:
    """Which outputs a network carries to its end.

    Args:
        reads: The stages, from 0 and ascending, whose outputs are read; () where the head reads the last alone, and no size.
        channels: Of the images.
        memory_format: Of the maps that come out of a cut.
        means: A method of domain adaptation reads the stages, not the head. It is given the mean of each output alone.
    """

    def __init__(
        self,
        reads: Sequence[int] = (),
        channels: int = 3,
        memory_format: torch.memory_format = torch.contiguous_format,
        *,
        means: bool = False,
    ) -> None:
        self.reads = tuple(reads)
        self.channels = channels
        self.memory_format = memory_format
        self.means = means
        self._shapes: dict[tuple[Size, int], Sequence[Shape]] = {}

    def packs(self, stages: int) -> bool:
        """Whether what comes out of a cut after so many stages is more than the last one's output."""
        return bool(self.reads) and stages > 0 and (not self.means or len(packing.needed(self.reads, stages)) > 1)

    def opened(self, x: Tensor, stages: Sequence[nn.Module]) -> Carried:
        """Return what the output of leading stages holds: see `closed`.

        Args:
            x: (n, 1, planes, H, W), or any tensor where nothing is packed; images where there are no stages.
            stages: Those that computed it.
        """
        size = (x.shape[-2], x.shape[-1]) if x.ndim > 2 else (1, 1)
        if not self.packs(len(stages)):
            return Carried(size, x)
        order = packing.needed(self.reads, len(stages))
        found = dict(enumerate(self._outputs(stages, size)))
        if self.means:
            found |= {stage: packing.mean_shape(found[stage]) for stage in order[:-1]}
        flat, at, maps = x.flatten(1), 0, {}
        for stage in order:
            count = math.prod(found[stage])
            one = flat[:, at : at + count].clone().view(-1, *found[stage])
            maps[stage] = one.contiguous(memory_format=self.memory_format) if one.ndim == 4 else one
            at += count
        return Carried(size, maps[order[-1]], {stage: maps[stage] for stage in order[:-1]})

    def onward(self, carried: Carried, stage: int, output: Tensor) -> Carried:
        """Return what is carried after one more stage.

        Args:
            carried: Up to the stage before.
            stage: Its number.
            output: Of it.
        """
        kept = carried.kept
        if stage - 1 in self.reads:
            kept = {**kept, stage - 1: mean(carried.last) if self.means else carried.last}
        return Carried(carried.size, output, kept)

    def closed(self, carried: Carried, stages: int) -> Tensor:
        """Return what is carried after so many stages in one tensor: the last output itself where nothing is packed.

        Returns:
            (n, 1, planes, H, W) with the values of all maps and means that the rest of the network needs: see `tlkit.plans.packing`.
        """
        if not self.packs(stages):
            return carried.last
        maps = [*(carried.kept[stage] for stage in packing.needed(self.reads, stages)[:-1]), carried.last]
        shape = packing.packed([tuple(each.shape[1:]) for each in maps], carried.size)
        flat = [each.flatten(1) for each in maps]  # (n, values)
        rest = math.prod(shape) - sum(each.shape[1] for each in flat)
        return torch.cat([*flat, flat[0].new_zeros(len(flat[0]), rest)], dim=1).view(-1, *shape)

    def read(self, carried: Carried, stages: Sequence[nn.Module]) -> tuple[Tensor, ...]:
        """Return the maps that the head reads, after all stages.

        They are in one memory format, on which the last bits of a mean depend: what a cut network computes with may be in another.
        """
        outputs = {**carried.kept, len(stages) - 1: carried.last}
        maps = (tokens.picture(stages[stage], outputs[stage], carried.size) for stage in self.reads)
        return tuple(each.contiguous(memory_format=self.memory_format) for each in maps)

    def compared(self, carried: Carried, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the mean (n, C) of each stage that a method of domain adaptation compares, by its name, after all stages."""
        if not self.means:
            return {}
        last = len(names) - 1
        return {names[stage]: mean(carried.last) if stage == last else carried.kept[stage] for stage in self.reads}

    def _outputs(self, stages: Sequence[nn.Module], size: Size) -> Sequence[Shape]:
        if (size, len(stages)) not in self._shapes:
            self._shapes[size, len(stages)] = list(shapes.outputs(stages, size, channels=self.channels))
        return self._shapes[size, len(stages)]


def mean(x: Tensor) -> Tensor:
    """Return the mean (n, C) float32 over the picture of a map (n, C, h, w), or over all tokens (n, T, C). Features (n, C) stay."""
    x = x.float()
    return x.mean(1) if x.ndim == 3 else x.mean(tuple(range(2, x.ndim))) if x.ndim > 2 else x
