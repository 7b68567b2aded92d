"""Estimate the memory of training from shapes, and choose a batch size that fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tlkit import tasks, units
from tlkit.compiler import shared_networks
from tlkit.compiler.loss_memory import loss_bytes
from tlkit.engine import tiles
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images.geometry import CROP_ROOM
from tlkit.engine.kernels import functions
from tlkit.errors import TlkitError
from tlkit.network import activations, device_memory
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network
from tlkit.network.shapes import does_not_run
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.batches import batches_per_epoch
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.plan import Choice, MemoryPlan, trains_in
from tlkit.plans.resolved import Resolved
from tlkit.recipe import augmentations
from tlkit.recipe.maps import Partition
from tlkit.record.formats import chunk_on
from tlkit.units import Size

_FLOAT = 4  # bytes
# Tensors of a parameter's size that an optimizer keeps: Adam's two moments, SGD's momentum buffer.
_STATES = {"adam": 2, "adamw": 2, "sgd": 1}
# Part of the free memory that batch_size = "auto" may fill.
_AUTO_SHARE = 0.7


@dataclass(frozen=True)
class Draft:
    """The values that every part of a plan is made from.

    Attributes:
        resolved: The arm with its plugins.
        facts: Classes and counts of the images.
        network: The network on the meta device.
        divided: What trains when, at which rate.
        starts: Epochs done when each phase begins.
        cuts: Leading stages in which nothing trains, of each phase.
        sizes: Size of training images, by the epochs done when it begins.
        device: The device that training uses.
        aux_heads: The auxiliary classifiers.
    """

    resolved: Resolved
    facts: DataFacts
    network: Network
    divided: Partition
    starts: tuple[int, ...]
    cuts: tuple[int, ...]
    sizes: Mapping[int, Size]
    device: torch.device
    aux_heads: AuxHeads

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages."""
        return tuple(self.resolved.backbone.stages)

    def size(self, first: int) -> Size:
        """Return the size of training images in the phase that begins after so many epochs."""
        return self.sizes[max(begin for begin in self.sizes if begin <= first)]

    @property
    def largest(self) -> Size:
        """The size of training images with the most pixels, which is the one that needs the most memory."""
        return max(self.sizes.values(), key=math.prod)


@dataclass(frozen=True)
class Division:
    """The processes that share a batch.

    Attributes:
        count: How many there are.
        here: How many of them are on this machine, and share its memory where they compute on the CPU.
        agreed: From the batch whose part fits into this process to the smallest of all processes.
    """

    count: int = 1
    here: int = 1
    agreed: Callable[[int], int] = int


WHOLE = Division()


def batch_size(draft: Draft, known: int | None, division: Division = WHOLE) -> tuple[int, list[Choice]]:
    """Return the batch size, and the reason for it.

    Args:
        draft: The values that the plan is made from.
        known: The batch size that "auto" chose for a run that is continued; None for a new run.
        division: The processes that share it.
    """
    wanted, images = draft.resolved.arm.data.batch_size, draft.facts.images.train
    trained = images if draft.resolved.learns == "steps" else 0
    if isinstance(wanted, int):
        return wanted, _last_batch(trained, wanted)
    if known is not None:
        return known, [Choice("batch_size", str(known), "kept from when this arm began")]
    free, largest = _free(draft, division), max(images // 4, 2) if images else math.inf
    batch = _fitting(draft, largest, _AUTO_SHARE * free, division) or 2
    each = f" for the part that each of {division.count} processes has" if division.count > 1 else ""
    limit = (
        f"{_AUTO_SHARE:.0%} of {free / 2**30:.1f} GiB free{each}" if batch * 2 <= largest else "at least four batches an epoch"
    )
    mine, batch = batch, division.agreed(batch)
    reason = (
        f"the largest power of two with {limit}"
        if batch == mine
        else "its part is what the process with the least memory holds"
    )
    return batch, [Choice("batch_size", str(batch), reason), *_last_batch(trained, batch)]


def too_large(draft: Draft, batch: int, memory: MemoryPlan, division: Division = WHOLE) -> str | None:
    """Say that a batch takes more memory than is free by estimate, and which one would not; None where it fits."""
    if draft.device.type not in ("cpu", "cuda") or (draft.device.type == "cuda" and not torch.cuda.is_available()):
        return None
    free, needed = _free(draft, division), memory.total if draft.device.type == "cpu" else memory.network
    if division.count > 1:
        needed = _beside(draft, batch, division.count)
    if needed <= free:
        return None
    large = (
        f"data.batch_size: a batch of {units.images(batch)} takes {units.size(needed)} of memory by estimate, and {units.size(free)} "
        f"are free on {draft.device.type}"
    )
    fits = _fitting(draft, batch - 1, free, division)
    if fits is None:
        return large
    accumulate = -(-batch // fits) * draft.resolved.arm.optimizer.accumulate
    return f"{large}: {fits} would fit, with optimizer.accumulate = {accumulate} for steps on as many images"


def _free(draft: Draft, division: Division) -> int:
    """Return the bytes that each process of a machine may have."""
    return device_memory.usable_memory(draft.device) // (division.here if draft.device.type == "cpu" else 1)


def _fitting(draft: Draft, most: float, free: float, division: Division) -> int | None:
    """Return the largest power of two, 2 or more, up to `most` whose batch takes less than so many bytes; None where 2 do not."""
    fits, batch = None, 2
    while batch <= most and _beside(draft, batch, division.count) < free:
        fits, batch = batch, batch * 2
    return fits


def _beside(draft: Draft, batch: int, count: int) -> int:
    """Return the bytes in the memory of the device that one of `count` processes takes for its part of a batch."""
    part = max(-(-batch // count), 2)  # of one image some layers have no statistics, and they then have those of all processes
    memory = estimate(draft, part)
    copied = memory.gradients if count > 1 else 0  # in which gradients are added up
    return copied + (memory.total if draft.device.type == "cpu" else memory.network)


def _last_batch(images: int, batch: int) -> list[Choice]:
    if images == 0 or batches_per_epoch(images, batch) * batch >= images:
        return []
    return [
        Choice("last batch", "left out", "it would be one image, which BatchNorm cannot learn from; another one each epoch")
    ]


def estimate(draft: Draft, batch: int) -> MemoryPlan:
    """Return the peak memory of a training step on a batch.

    Raises:
        TlkitError: BatchNorm cannot learn from such a batch.
        PluginError: the network cannot be run on shapes alone.
    """
    arm, divided, network = draft.resolved.arm, draft.divided, draft.network
    channels = draft.resolved.channels
    tensors = dict(network.owned())
    weights = sum(tensor.nbytes for tensor in network.tensors().values()) + _copied(network, max(draft.cuts))
    largest = [*draft.sizes.values(), *([] if draft.resolved.canvas is None else [draft.resolved.canvas])]
    chunk = chunk_on(draft.device.type, max(map(math.prod, largest)))
    real = min(batch, draft.facts.images.train or batch)  # a batch is never larger than the training images
    found = draft.resolved.adaptation
    if found is not None and draft.resolved.learns == "steps":  # a step has as many images of the target, and labelled ones
        real += real * found.beside + min(real, draft.facts.images.labelled)
    gradients = activations_bytes = 0
    whole = tasks.get(draft.resolved.head.task).targets.whole
    for first, cut in zip(draft.starts, draft.cuts, strict=True):
        size = draft.size(first)
        moving = frozenset(o.parameter.name for o in divided.parameters if trains_in(o.trains_from, first + 1))
        freeze_(network, moving.__contains__, running_norms=arm.backbone.batch_norm == "running")
        gradients = max(gradients, sum(t.nbytes for p, t in tensors.items() if p.name in moving))
        try:
            activations_bytes = max(activations_bytes, _activations(draft, first, cut, chunk=chunk, batch=real, moving=moving))
        except ValueError as error:  # BatchNorm that has one value per channel to learn from
            raise TlkitError(
                f"data.batch_size: the network cannot be trained on {units.images(real)} of {units.pixels(size)} at a time: a layer that "
                "normalizes would have one value of each channel, and needs two.",
                f"a larger data.batch_size, or a larger {'data.crop_size' if whole else 'data.image_size'}",
            ) from error
        except Exception as error:  # whatever a third party's forward raises in training alone
            raise does_not_run(draft.resolved.backbone.build, "a training step", size, error, whole=whole) from error
    trained = sum(tensors[o.parameter].nbytes for o in divided.parameters if o.trains_from is not None)
    states = 0 if arm.optimizer.name == "sgd" and arm.optimizer.momentum == 0 else _STATES[arm.optimizer.name]
    averages = trained if arm.optimizer.ema is not None else 0
    if draft.device.type == "cuda":
        activations_bytes += _of_loss(draft, real)
        # the graph's own; beside it a shorter batch, which runs without it, or a picture in tiles; and those of the graph of evaluation
        activations_bytes += max(activations_bytes, _of_tiles(draft)) + _of_answers(draft, batch)
        gradients *= 2
    values = real * math.prod(draft.largest) * channels
    return MemoryPlan(
        weights, gradients, states * trained + averages, activations_bytes, values * (_picture_value(draft) + _FLOAT * _copies(draft)),
        _embedded(draft), _resident(draft),
    )  # fmt: skip


def _activations(draft: Draft, first: int, cut: int, *, chunk: int, batch: int, moving: frozenset[str]) -> int:
    """Return the bytes of a step's activations in the phase after `first` epochs, for which the network is frozen."""
    resolved, network, size = draft.resolved, draft.network, draft.size(first)
    running = tuple(draft.aux_heads.running(draft.divided.parameters, first))

    def count() -> int:
        with functions.faster(draft.device):  # as the step runs
            return activations.activation_bytes(
                network, cut=cut, chunk=chunk, batch=batch, image_size=size, aux_heads=running, channels=resolved.channels
            )

    norms = resolved.arm.backbone.batch_norm
    question = ("activations", moving, norms, cut, chunk, batch, size, running, draft.device.type)
    return shared_networks.once(network, question, count)


def _of_loss(draft: Draft, images: int) -> int:
    """Return the bytes that the loss of masks takes beside the logits; that of others is small."""
    task = tasks.get(draft.resolved.head.task)
    if not task.targets.masks:
        return 0
    return loss_bytes(task, draft.resolved.arm.loss, classes=draft.facts.classes, images=images, size=draft.largest)


def _of_tiles(draft: Draft) -> int:
    """Return the bytes of the largest picture that is evaluated in tiles, and of its answer; 0 where none is."""
    canvas, classes, channels = draft.resolved.canvas, draft.facts.classes, draft.resolved.channels
    return 0 if draft.resolved.tile is None or canvas is None else tiles.peak_bytes(canvas, classes=classes, channels=channels)


def _of_answers(draft: Draft, batch: int) -> int:
    """Return the bytes that the layers of an evaluation take at a time, which its graph keeps: those behind the fixed prefix, of a tile all."""
    network, tile, channels = draft.network, draft.resolved.tile, draft.resolved.channels
    cut, images, size = (min(draft.cuts), batch, draft.largest) if tile is None else (0, 1, (tile, tile))

    def count() -> int:
        with evaluating(network):  # of one image some layers that train have no statistics
            return activations.answer_bytes(network, cut=cut, images=images, image_size=size, channels=channels)

    return shared_networks.once(network, ("answers", cut, images, size), count)


def _copies(draft: Draft) -> int:
    """Return how many batches of input there are at a time: on a GPU those of the graphs, and two while one is augmented."""
    return 1 if draft.device.type == "cpu" else 4 + draft.resolved.arm.optimizer.accumulate


def _resident(draft: Draft) -> int:
    """Return the bytes of the pictures of all images on a GPU; 0 on a CPU, where they stay in the store."""
    if draft.device.type == "cpu":
        return 0
    images, (height, width) = draft.facts.images, draft.largest
    room = CROP_ROOM**2 if augmentations.needs_room(draft.resolved.arm.data.augment) else 1.0
    count = images.train + images.held_out + images.target
    return int(count * room * height * width * draft.resolved.channels * _picture_value(draft))


def _copied(network: Network, cut: int) -> int:
    """Return the bytes of the fixed prefix's copy, and of its largest stage with BatchNorm once more: folding copies that stage."""
    fixed = list(network.stages.values())[:cut]
    sizes: list[int] = [sum(tensor.nbytes for tensor in stage.state_dict().values()) for stage in fixed]
    normed = [any(isinstance(module, nn.BatchNorm2d) for module in stage.modules()) for stage in fixed]
    return sum(sizes) + max((size for size, norm in zip(sizes, normed, strict=True) if norm), default=0)


def _picture_value(draft: Draft) -> int:
    """Return the bytes of a value of a picture in a batch: float32 holds uint16 too."""
    return 1 if draft.resolved.convention.values == "uint8" else _FLOAT


def _embedded(draft: Draft) -> int:
    """Return the bytes of what a solved head reads of all training images, twice: an estimator works on a copy.

    With [adapt] those of the target are beside them; a method works on copies of both in float64.
    """
    resolved, network = draft.resolved, draft.network
    if resolved.learns != "solved":
        return 0

    def count() -> int:
        with torch.no_grad():
            return network.read(network.run(torch.empty(2, resolved.channels, *resolved.image_size, device="meta"))).shape[1]

    features = shared_networks.once(network, ("features", resolved.image_size), count)
    images, adaptation = draft.facts.images, resolved.adaptation
    aligned = adaptation is not None and adaptation.adapter is not None and bool(adaptation.adapter.solve)
    return (2 + (4 if aligned else 0)) * (images.train + images.target) * features * _FLOAT
