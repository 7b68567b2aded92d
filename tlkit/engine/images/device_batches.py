"""Batches of a part for a device: on the CPU one by one, on an accelerator from tables that are uploaded for many batches at once.

The rule: once an epoch runs, nothing waits. What is drawn, labels and places are uploaded in blocks, and a batch is a slice of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine import transfer
from tlkit.engine.augment.batched import Batched, as_arrays
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.mix import Mixing, mix_by
from tlkit.engine.augment.parameters import Parameters, parameters
from tlkit.engine.images.masks import Masks
from tlkit.engine.images.normalisation import Normaliser
from tlkit.engine.images.parts import Part, TrainingPart
from tlkit.engine.images.pictures import Indices
from tlkit.recipe import augmentations

BLOCK = 8192  # images whose tables are uploaded at once: under 2 MB with every augmentation
FIRST = 4  # batches of the first block: the device begins with them while the host draws for the next block
_CPU = torch.device("cpu")


def inputs(part: Part, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
    """Yield `part.inputs` of an order, in batches: (size, 3, H, W) float32; the last may be shorter."""
    if device.type == "cpu":
        for chosen in slices(order, size):
            yield part.inputs(chosen, epoch, device)
    elif device.type == "cuda":
        yield from transfer.beside(batched_inputs(part, order, epoch, device, size), device)
    else:
        yield from batched_inputs(part, order, epoch, device, size)


def targets(part: Part, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
    """Yield `part.targets` of an order, in batches; masks and boxes are made on the CPU, whatever the device."""
    if device.type == "cpu":
        for chosen in slices(order, size):
            yield part.targets(chosen, epoch, device)
    elif part.masks is not None:
        yield from masks_ahead(part, part.masks, order, epoch, device, size)
    elif part.places:
        for chosen in slices(order, size):
            yield transfer.upload(part.targets(chosen, epoch, _CPU), device)
    else:
        yield from batched_targets(part, order, epoch, device, size)


def slices(order: Indices, size: int) -> Iterator[Indices]:
    """Yield an order in pieces."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


def batched_inputs(part: Part, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
    """Yield inputs as an accelerator makes them: pictures that are there or read ahead, augmented a batch at a time."""
    training = part if isinstance(part, TrainingPart) else None
    tables = () if training is None else training.augment
    held = part.pictures.geometry.size
    whole = None
    if training is not None and tables:
        whole = Batched(
            tables,
            held=held,
            size=training.size,
            fill=part.convention.mean_colour,
            device=device,
            erase_with=training.erase_with,
        )
    normal = Normaliser(part.convention, device)
    pictures = _pictures(part, order, epoch, device, size)
    for block in _blocks(part, order, epoch, size):
        drawn: list[dict[str, Tensor]] = []
        found: list[Parameters] = []
        if training is not None and whole is not None:
            found = parameters(
                tables, Draws(training.seed, training.draw_of(epoch), block.pictured), held=held, size=training.size,
                shapes=training.shapes(block.pictured), extents=training.extents_of(block.pictured),
            )  # fmt: skip
            rows = [batch.pictured for batch in block.batches]
            drawn = [_uploaded(as_arrays(table, each, rows), device) for table, each in zip(tables, found, strict=True)]
        mixing = block.mixing
        mixed = {} if mixing is None else _uploaded({"boxes": mixing.boxes, "own": mixing.own}, device)
        for batch in block.batches:
            x = next(pictures)
            if whole is not None:
                here = [{name: array[batch.pictured] for name, array in each.items()} for each in found]
                x = whole(x, [_part(each, batch.pictured) for each in drawn], here)
            x = normal(x)
            if mixing is None:
                yield x
            else:
                own = batch.stop - batch.start
                yield mix_by(x[:own], x[own:], **_part(mixed, batch.images))


def batched_targets(part: Part, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
    """Yield targets as an accelerator has them: slices of a block that is uploaded at once."""
    kind, known = part.task.targets, part.known
    for block in _blocks(part, order, epoch, size):
        own = transfer.upload(kind.batch(known[block.images]), device)
        mixing = block.mixing
        if mixing is None or not isinstance(part, TrainingPart):
            for batch in block.batches:
                yield own[batch.images]
            continue
        theirs = transfer.upload(kind.batch(known[mixing.partners]), device)
        shares = transfer.upload(mixing.shares.astype(np.float32), device)
        for batch in block.batches:
            yield kind.mix(own[batch.images], theirs[batch.images], shares[batch.images], part.classes)


def masks_ahead(
    part: Part, masks: Masks, order: Indices, epoch: int, device: torch.device, size: int
) -> Iterator[Tensor]:  # fmt: skip
    """Yield masks (size, H, W) uint8 that a thread makes ahead; their copies run while the device computes."""

    def make(chosen: Indices, out: Tensor) -> None:
        out.copy_(part.targets(chosen, epoch, _CPU))

    shape = part.size if isinstance(part, TrainingPart) else masks.geometry.size
    yield from transfer.ahead(
        make, slices(order, size), rows=size, shape=shape, dtype=torch.uint8, copier=transfer.copier(device)
    )


@dataclass(frozen=True)
class _Batch:
    """A batch within a block: images start to stop.

    Attributes:
        start: The first.
        stop: After the last.
        doubled: Every image has a partner that it is mixed with; a batch's partners follow its images.
    """

    start: int
    stop: int
    doubled: bool

    @property
    def images(self) -> slice:
        """Of what has a row per image."""
        return slice(self.start, self.stop)

    @property
    def pictured(self) -> slice:
        """Of what has a row per picture."""
        return slice(2 * self.start, 2 * self.stop) if self.doubled else self.images


@dataclass(frozen=True)
class _Block:
    """Some batches, whose tables are uploaded at once.

    Attributes:
        images: (n,) positions in the data set.
        mixing: How they are mixed; None where they are not.
        size: Images of a batch.
    """

    images: Indices
    mixing: Mixing | None
    size: int

    @property
    def batches(self) -> list[_Batch]:
        """The batches in order."""
        count, doubled = len(self.images), self.mixing is not None
        return [_Batch(start, min(start + self.size, count), doubled) for start in range(0, count, self.size)]

    @property
    def pictured(self) -> Indices:
        """Positions of all pictures, batch by batch, the partners of a batch after its images."""
        if self.mixing is None:
            return self.images
        pairs = [(self.images[each.images], self.mixing.partners[each.images]) for each in self.batches]
        return np.concatenate([positions for pair in pairs for positions in pair])


def _blocks(part: Part, order: Indices, epoch: int, size: int) -> Iterator[_Block]:
    first = min(FIRST, max(1, BLOCK // size)) * size
    for images in (order[:first], *slices(order[first:], max(1, BLOCK // size) * size)):
        if not len(images):
            continue
        mixing = None
        if isinstance(part, TrainingPart) and augmentations.mixes(part.augment):
            mixing = part.mixing(images, part.draw_of(epoch))
        yield _Block(images, mixing, size)


def _pictures(part: Part, order: Indices, epoch: int, device: torch.device, size: int) -> Iterator[Tensor]:
    """Yield the pictures of each batch on the device, of its images and then of their partners."""
    pictures, blocks = part.pictures, _blocks(part, order, epoch, size)
    everything = part.indices if isinstance(part, TrainingPart) else order
    if pictures.on(everything, device):
        for block in blocks:
            places = transfer.upload(pictures.places(block.pictured), device)
            for batch in block.batches:
                yield pictures.resident.index_select(0, places[batch.pictured])
        return
    most = size * (2 if isinstance(part, TrainingPart) and augmentations.mixes(part.augment) else 1)
    chosen = (pictured[batch.pictured] for block in blocks for pictured in [block.pictured] for batch in block.batches)
    yield from transfer.ahead(
        pictures.fetch, chosen, rows=most, shape=pictures.geometry.shape, dtype=pictures.dtype, copier=transfer.copier(device)
    )


def _uploaded(arrays: dict[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    return {name: transfer.upload(array, device) for name, array in arrays.items()}


def _part(tensors: dict[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}
