"""A resolved arm to its plan: the network is built on the meta device, so neither weights nor images nor a GPU are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tlkit import network as networks
from tlkit import partition, resolve
from tlkit.engine import memory
from tlkit.errors import PluginError, RecipeError, TlkitError, reason
from tlkit.execution import PrefixPlan
from tlkit.network import Network
from tlkit.partition import HEAD, Owned, Partition
from tlkit.plans import (
    Choice,
    DataFacts,
    GroupPlan,
    MemoryPlan,
    ParameterPlan,
    PhasePlan,
    Plan,
    StagePlan,
    batches_per_epoch,
    steps_per_epoch,
    trains_in,
)
from tlkit.plugin import Backbone
from tlkit.resolve import Resolved

_FLOAT = 4  # bytes
# Tensors of a parameter's size that an optimizer keeps: Adam's two moments, SGD's momentum buffer.
_STATES = {"adam": 2, "adamw": 2, "sgd": 1}
# Part of the free memory that batch_size = "auto" may fill.
_AUTO_SHARE = 0.7


@dataclass(frozen=True)
class _Draft:
    """What every part of a plan is made from."""

    resolved: Resolved
    facts: DataFacts
    network: Network
    divided: Partition
    cuts: tuple[int, ...]
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.resolved.backbone.stages)


def make(
    resolved: Resolved,
    facts: DataFacts,
    *,
    where: str,
    device: torch.device,
    batch_size: int | None = None,
    folder: str = ".",
) -> Plan:
    """Make the plan of one arm, with plain forms and no store yet: see `tuning.tuned`.

    Args:
        resolved: The arm with its plugins.
        facts: Of the images.
        where: Begins every message, usually the recipe's file.
        device: On which memory is counted for batch_size = "auto".
        batch_size: What "auto" came to before, for a run that is continued.
        folder: Where the recipe's relative paths begin.

    Raises:
        RecipeError: a key of the maps owns no parameter, or a parameter trains without a rate.
    """
    arm, names = resolved.arm, tuple(resolved.backbone.stages)
    network = _meta(resolved, facts.classes)
    owned = [parameter for parameter, _ in network.owned()]
    divided = partition.divide(owned, names, arm.freeze, arm.lr_groups, epochs=arm.schedule.epochs)
    problems = partition.problems(divided, stages=names, freeze=arm.freeze, rates=arm.lr_groups, backbone=arm.backbone.name)
    if problems:
        raise RecipeError(TlkitError(f"{where}: {p.problem}", *p.hints) for p in problems)
    flops, outputs = _cost(network, resolved)
    cuts = tuple(_cut(divided, names, first) for first in divided.boundaries())
    draft = _Draft(resolved, facts, network, divided, cuts, device)
    batch, choices = _batch(draft, batch_size)
    if device.type == "cuda":
        choices.append(
            Choice(
                "graph",
                "captured, one a phase",
                "unless --no-graph; a step that cannot be is taken without, and the run says why",
            )
        )
    steps = steps_per_epoch(facts.images.train, batch, arm.optimizer.accumulate)
    return Plan(
        recipe=resolved.recipe,
        arm=resolved.name,
        tables=arm,
        classes=facts.classes,
        image_size=resolved.image_size,
        batch_size=batch,
        input=resolved.convention,
        stages=_stages(draft, flops, outputs),
        parameters=tuple(
            ParameterPlan(o.parameter.name, o.parameter.stage, tuple(tensor.shape), o.trains_from, o.group)
            for o, (_, tensor) in zip(divided.parameters, network.owned(), strict=True)
        ),
        groups=_groups(draft),
        phases=_phases(draft, steps),
        images=facts.images,
        steps_per_epoch=steps,
        flops_per_image=sum(flops.values()),
        memory=_memory(draft, batch),
        unused=divided.unused,
        warnings=_warnings(draft),
        choices=tuple(choices),
        folder=folder,
    )


def _meta(resolved: Resolved, classes: int) -> Network:
    with torch.device("meta"):
        return networks.build(
            resolved.backbone, resolved.head, classes=classes,
            backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=0,
        )  # fmt: skip


def _cost(network: Network, resolved: Resolved) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """FLOPs and output shape of every stage and the head, for one image."""
    networks.freeze_(network, lambda _: False)
    flops: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    x = torch.empty(1, 3, resolved.image_size, resolved.image_size, device="meta")
    with torch.no_grad():
        for index, name in enumerate([*network.stages, HEAD]):
            if name == HEAD:
                _check_width(x, resolved.backbone)
            try:
                with FlopCounterMode(display=False) as counter:
                    x = network.finish(x) if name == HEAD else network.run(x, start=index, stop=index + 1)
                flops[name], outputs[name] = counter.get_total_flops(), tuple(x.shape[1:])
            except Exception as error:  # whatever a third party's forward raises
                target = resolved.head.build if name == HEAD else resolved.backbone.build
                raise _unplannable(target, f"stage {name}", resolved.image_size, error) from error
    return flops, outputs


def _check_width(x: Tensor, backbone: Backbone) -> None:
    width = tuple(networks.pool(x).shape)
    if width != (1, backbone.features):
        raise PluginError(
            f"{backbone.build}: its pooled output of one image is {width}, declared are {backbone.features} features.",
            f"features={width[-1]}" if len(width) == 2 else "from (N, 3, H, W) to (N, features, h, w) or (N, features)",
        )


def _unplannable(target: str, part: str, size: int, error: Exception) -> PluginError:
    return PluginError(
        f"{target}: {part} fails on the meta device with images of {size} px: {reason(error)}.",
        "plans run the network on shapes alone: forward may not look at values",
    )


def _cut(divided: Partition, names: Sequence[str], first: int) -> int:
    """Leading stages in which nothing trains in the phase that begins after `first` epochs."""
    busy = {o.parameter.stage for o in divided.parameters if trains_in(o.trains_from, first + 1)}
    return next((index for index, name in enumerate(names) if name in busy), len(names))


def _phases(draft: _Draft, steps: int) -> tuple[PhasePlan, ...]:
    starts, names = draft.divided.boundaries(), draft.names
    phases = []
    for start, end, cut in zip(starts, [*starts[1:], draft.resolved.arm.schedule.epochs], draft.cuts, strict=True):
        sizes = zip(draft.divided.parameters, draft.network.owned(), strict=True)
        trained = sum(tensor.numel() for owned, (_, tensor) in sizes if trains_in(owned.trains_from, start + 1))
        reason = f"nothing trains before {[*names, HEAD][cut]}" if cut else "the first stage trains"
        phases.append(PhasePlan(start + 1, end, tuple(names[:cut]), trained, (end - start) * steps, reason))
    return tuple(phases)


def _stages(draft: _Draft, flops: dict[str, int], outputs: dict[str, tuple[int, ...]]) -> tuple[StagePlan, ...]:
    tensors = dict(draft.network.owned())
    rows = []
    for name in [*draft.names, HEAD]:
        mine = [o for o in draft.divided.parameters if o.parameter.stage == name]
        moving = [o for o in mine if o.trains_from is not None]
        groups = tuple(dict.fromkeys(o.group for o in moving if o.group is not None))
        rows.append(
            StagePlan(
                name=name,
                parameters=sum(tensors[o.parameter].numel() for o in mine),
                trained=sum(tensors[o.parameter].numel() for o in moving),
                trains=_when(mine),
                groups=groups,
                peak_lr=tuple(resolve.rate(draft.resolved.arm.lr_groups[group]).lr for group in groups),
                flops=flops[name],
                output=outputs[name],
            )
        )
    return tuple(rows)


def _when(owned: Sequence[Owned]) -> str:
    froms = {o.trains_from for o in owned}
    if len(froms) > 1:
        return "partly"
    first = froms.pop() if froms else None
    return "never" if first is None else "always" if first == 0 else f"from epoch {first + 1}"


def _groups(draft: _Draft) -> tuple[GroupPlan, ...]:
    """Groups in the order of their first parameter, whatever the order of the table."""
    arm = draft.resolved.arm
    optimizer = arm.optimizer
    sizes: dict[str, int] = {}
    for owned, (_, tensor) in zip(draft.divided.parameters, draft.network.owned(), strict=True):
        if owned.trains_from is not None and owned.group is not None:
            sizes[owned.group] = sizes.get(owned.group, 0) + tensor.numel()
    rows = []
    for name, size in sizes.items():
        rate = resolve.rate(arm.lr_groups[name])
        momentum = None
        if optimizer.name == "sgd":
            momentum = optimizer.momentum if rate.momentum is None else rate.momentum
        decay = optimizer.weight_decay if rate.weight_decay is None else rate.weight_decay
        rows.append(GroupPlan(name, rate.lr, decay, momentum, size))
    return tuple(rows)


def _batch(draft: _Draft, known: int | None) -> tuple[int, list[Choice]]:
    wanted, images = draft.resolved.arm.data.batch_size, draft.facts.images.train
    if isinstance(wanted, int):
        return wanted, _last_batch(images, wanted)
    if known is not None:
        return known, [Choice("batch_size", str(known), "kept from when this arm began")]
    free = memory.free_memory(draft.device)
    batch, largest = 2, max(images // 4, 2) if images else math.inf
    while batch * 2 <= largest and _memory(draft, batch * 2).total < _AUTO_SHARE * free:
        batch *= 2
    limit = f"{_AUTO_SHARE:.0%} of {free / 2**30:.1f} GiB free" if batch * 2 <= largest else "at least four batches an epoch"
    return batch, [Choice("batch_size", str(batch), f"the largest power of two with {limit}"), *_last_batch(images, batch)]


def _last_batch(images: int, batch: int) -> list[Choice]:
    if images == 0 or batches_per_epoch(images, batch) * batch >= images:
        return []
    return [
        Choice("last batch", "left out", "it would be one image, which BatchNorm cannot learn from; another one each epoch")
    ]


def _memory(draft: _Draft, batch: int) -> MemoryPlan:
    arm, divided, network, size = draft.resolved.arm, draft.divided, draft.network, draft.resolved.image_size
    tensors = dict(network.owned())
    fixed = list(network.stages.values())[: max(draft.cuts)]
    copied = [tensor for stage in fixed for tensor in stage.state_dict().values()]
    weights = sum(tensor.nbytes for tensor in [*network.tensors().values(), *copied])
    chunk = PrefixPlan().chunk
    real = min(batch, draft.facts.images.train or batch)  # a batch is never larger than the training images
    gradients = kept = 0
    for first, cut in zip(divided.boundaries(), draft.cuts, strict=True):
        moving = {o.parameter.name for o in divided.parameters if trains_in(o.trains_from, first + 1)}
        networks.freeze_(network, moving.__contains__)
        gradients = max(gradients, sum(t.nbytes for p, t in tensors.items() if p.name in moving))
        try:
            kept = max(kept, memory.activations(network, cut=cut, chunk=chunk, batch=real, image_size=size))
        except ValueError as error:  # BatchNorm that has one value per channel to learn from
            raise TlkitError(
                f"data.batch_size: {real} of {size} px cannot be trained on: {error}.",
                "a larger data.batch_size, or a larger data.image_size",
            ) from error
        except Exception as error:  # whatever a third party's forward raises in training alone
            raise _unplannable(draft.resolved.backbone.build, "a training step", size, error) from error
    trained = sum(tensors[o.parameter].nbytes for o in divided.parameters if o.trains_from is not None)
    states = 0 if arm.optimizer.name == "sgd" and arm.optimizer.momentum == 0 else _STATES[arm.optimizer.name]
    averages = trained if arm.optimizer.ema is not None else 0
    if draft.device.type == "cuda":
        kept *= 2  # the graph's own, and those of a shorter batch, which runs without it
    return MemoryPlan(weights, gradients, states * trained + averages, kept, real * size**2 * 3 * (1 + _FLOAT))


def _warnings(draft: _Draft) -> tuple[str, ...]:
    """What to think twice about: a part frozen with random weights (the head too, unless an earlier run brings its own), CUDA."""
    weights = draft.resolved.arm.backbone.weights
    frozen = dict.fromkeys(o.parameter.stage for o in draft.divided.parameters if o.trains_from is None)
    still = [stage for stage in frozen if weights == "none" or (stage == HEAD and not weights.startswith("run:"))]
    lines = [f"frozen with random weights: {', '.join(still)}; they will never learn anything"] if still else []
    if draft.device.type == "cuda":
        lines.append("CUDA is unverified: no test of tlkit has run on a GPU yet")
    return tuple(lines)
