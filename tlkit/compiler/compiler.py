"""Make the plan of a resolved arm on the meta device, without weights, images or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from tlkit import tasks, units
from tlkit.compiler import gpu_choices, memory_estimate
from tlkit.compiler.memory_estimate import Draft
from tlkit.engine import formats
from tlkit.errors import PluginError, RecipeError, TlkitError
from tlkit.network import building, input_layer
from tlkit.network.building import does_not_run
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network, pool
from tlkit.plans import adaptation, arm_checks, auto_rates, licences, preprocessing
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.plan import (
    Choice,
    DataFacts,
    GroupPlan,
    ParameterPlan,
    PhasePlan,
    Plan,
    SizePlan,
    StagePlan,
    steps_per_epoch,
    trains_in,
)
from tlkit.plans.resolve import Resolved
from tlkit.plugin import Backbone
from tlkit.recipe import expansion, maps
from tlkit.recipe.map_tables import AUTO
from tlkit.recipe.maps import AUX, BESIDE, DOMAIN, HEAD, Owned, Partition
from tlkit.recipe.recipe import Arm
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import weight_files
from tlkit.tasks import Task, named_classes


def compile_plan(
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
        facts: Classes and counts of the images.
        where: Begins every message, usually the recipe's file.
        device: The device whose memory batch_size = "auto" fits.
        batch_size: The batch size that "auto" chose for a run that is continued; None for a new run.
        folder: Where the recipe's relative paths begin.

    Raises:
        RecipeError: a key of the maps owns no parameter, or a parameter trains without a rate.
    """
    arm, names = resolved.arm, tuple(resolved.backbone.stages)
    network = _meta(resolved, facts.classes)
    owned = [parameter for parameter, _ in network.owned()]
    aux_heads = AuxHeads(resolved.backbone, resolved.image_size, arm.head.aux_weight)
    freeze, rates = expansion.freeze_map(arm), expansion.rate_map(arm)
    divided = maps.divide(owned, names, freeze, rates, epochs=arm.schedule.epochs, aux_depths=aux_heads.usable)
    task = tasks.get(resolved.head.task)
    problems = task.data_problems(arm, facts.classes, facts.names)
    if (refused := formats.why_not(arm.precision, device)) is not None:
        problems.append(TlkitError(f'precision: "{arm.precision}": {refused[0]}.', refused[1]))
    problems += _norm_problems(resolved, network)
    if resolved.learns == "steps":
        problems += maps.problems(divided, stages=names, freeze=freeze, rates=rates, backbone=arm.backbone.name)
    if problems:
        raise RecipeError(TlkitError(f"{where}: {p.problem}", *p.hints) for p in problems)
    flops, outputs = _cost(network, resolved, aux_heads)
    sizes = dict(arm_checks.sizes(arm, resolved.backbone.image_size))
    starts = tuple(sorted({*divided.boundaries(), *sizes}))
    cuts = tuple(_cut(divided, names, first) for first in starts)
    draft = Draft(resolved, facts, network, divided, starts, cuts, sizes, device, aux_heads)
    batch, choices = memory_estimate.batch_size(draft, batch_size)
    if resolved.learns == "solved":
        fitted = "all training images"
        if arm.adapt is not None and not arm.adapt.source:
            fitted = f"the labelled images of {arm.adapt.target} alone: the source is left out"
        choices.append(Choice("head", "solved once", f"{arm.head.kind} is fitted on the embeddings of {fitted}"))
    groups = _groups(draft)
    weights = named_classes.weights(arm.loss, facts.names, facts.per_class)
    steps = 0
    if resolved.learns == "steps":
        steps = steps_per_epoch(facts.images.train, batch, arm.optimizer.accumulate)
    made = Plan(
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
        groups=groups,
        phases=_phases(draft, steps),
        images=facts.images,
        steps_per_epoch=steps,
        flops_per_image=sum(count for name, count in flops.items() if name != AUX),
        memory=memory_estimate.estimate(draft, batch),
        unused=(*resolved.unused, *divided.unused, *draft.aux_heads.unused(arm.backbone.name)),
        warnings=_warnings(draft, batch),
        licences=licences.of(arm, resolved.backbone),
        pools=network.pools,
        task=task.name,
        positive=named_classes.positive(arm.head, facts.names),
        class_weights=weights,
        learns=resolved.learns,
        choices=(
            *facts.choices,
            *_cut_choice(resolved.backbone),
            *_size_choice(draft),
            *_band_choices(resolved),
            *adaptation.choices(resolved.adaptation, facts.images),
            *_dropout_choice(resolved),
            *choices,
            *(Choice(*each) for each in (*task.choices(arm, facts.names), *named_classes.weight_choices(arm.loss, weights))),
            *draft.aux_heads.choices(divided.parameters),
            *_selection_choice(resolved, task),
            *_norm_choice(resolved),
            *auto_rates.choices(groups, source_alone=resolved.adaptation is not None and resolved.adaptation.in_steps),
        ),
        folder=folder,
        folds=resolved.folds,
        sizes=_other_sizes(draft),
    )
    if device.type != "cuda":
        return made
    return replace(made, choices=(*made.choices, *gpu_choices.choices(made, network, channels=resolved.channels)))


def _norm_problems(resolved: Resolved, network: Network) -> list[TlkitError]:
    """Refuse to replace statistics of BatchNorm where a network has none."""
    found = resolved.adaptation
    if found is None or not found.replaces_statistics or any(isinstance(each, _BatchNorm) for each in network.modules()):
        return []
    name = resolved.arm.backbone.name
    return [
        TlkitError(
            f"adapt.method: {found.table.method} replaces the statistics of BatchNorm, and {name} has no BatchNorm.",
            "another method, for instance stats",
        )
    ]


def _cut_choice(backbone: Backbone) -> list[Choice]:
    return [] if backbone.cut is None else [Choice("cut", *backbone.cut)]


def _size_choice(draft: Draft) -> list[Choice]:
    """Say which size held-out images have, where training images have several."""
    if len(set(draft.sizes.values())) == 1:
        return []
    size = units.pixels(draft.resolved.image_size)
    return [Choice("held-out images", f"{size} in every epoch", "the last size: scores of all epochs can be compared")]


def _band_choices(resolved: Resolved) -> list[Choice]:
    """Say how the first convolution takes bands, where the images have such."""
    if resolved.arm.data.channels is None or (resolved.trained is not None and resolved.trained.channels == "bands"):
        return []
    if resolved.arm.backbone.weights == weight_files.NONE:
        return [Choice("first convolution", f"of {units.channels(resolved.channels)}", "its random weights are drawn for them")]
    return [Choice("first convolution", *input_layer.described(resolved.channels))]


def _selection_choice(resolved: Resolved, task: Task) -> list[Choice]:
    """Say which metric chooses the best epoch, where that is not accuracy."""
    by = resolved.arm.select_by
    if by == "auto" or resolved.learns != "steps":
        return []
    rare = "where classes are rare, accuracy is won by answering none" if by == task.select_by else "as the recipe says"
    of = "the target, without its labels" if by in WITHOUT_LABELS else "the validation images"
    return [Choice("best epoch", f"by {by} of {of}", rare)]


def _norm_choice(resolved: Resolved) -> list[Choice]:
    if resolved.arm.backbone.batch_norm != "running" or resolved.learns != "steps":
        return []
    return [Choice("BatchNorm", "normalizes by its running statistics, and keeps them", "as the recipe says")]


def _dropout_choice(resolved: Resolved) -> list[Choice]:
    dropout = resolved.head.usual_dropout(resolved.backbone)
    if not dropout or resolved.learns != "steps" or resolved.arm.head.options.get("dropout") != dropout:
        return []
    reason = f"as {resolved.backbone.library} has it before its classifier; head.options.dropout = 0 leaves it out"
    return [Choice("head dropout", f"{dropout:g}", reason)]


def _meta(resolved: Resolved, classes: int) -> Network:
    with torch.device("meta"):
        return building.build(
            resolved.backbone, resolved.head, classes=classes,
            backbone_options=resolved.backbone_options, head_options=resolved.head_options, seed=0,
            image_size=resolved.image_size, channels=resolved.channels, domain_head=resolved.domain_head,
        )  # fmt: skip


def _cost(network: Network, resolved: Resolved, aux_heads: AuxHeads) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return FLOPs and output shape of every stage, the head and the auxiliary heads, for one image."""
    freeze_(network, lambda _: False)
    flops: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    x = torch.empty(1, resolved.channels, *resolved.image_size, device="meta")
    with torch.no_grad():
        for index, name in enumerate([*network.stages, HEAD]):
            if name == HEAD:
                _check_width(x, resolved.backbone)
            try:
                with FlopCounterMode(display=False) as counter:
                    x = network.finish(x) if name == HEAD else network.run(x, start=index, stop=index + 1)
                flops[name], outputs[name] = counter.get_total_flops(), tuple(x.shape[1:])
            except Exception as error:  # whatever a third party's forward raises
                target = resolved.head.target if name == HEAD else resolved.backbone.build
                raise does_not_run(target, f"stage {name}", resolved.image_size, error) from error
        for name in aux_heads.usable:
            aux_head = resolved.backbone.aux_heads[name]
            x = torch.empty(1, *outputs[aux_head.after], device="meta")
            try:
                with FlopCounterMode(display=False) as counter:
                    outputs[AUX] = tuple(network.aux_heads[name](x).shape[1:])
                flops[AUX] = flops.get(AUX, 0) + counter.get_total_flops()
            except Exception as error:  # likewise
                raise does_not_run(aux_head.build, f"auxiliary head {name}", resolved.image_size, error) from error
            if outputs[AUX] != outputs[HEAD]:
                raise PluginError(
                    f"{aux_head.build}: auxiliary head {name} gives {outputs[AUX]} for an image, the head {outputs[HEAD]}."
                )
    return flops, outputs


def _check_width(x: Tensor, backbone: Backbone) -> None:
    if not backbone.whole:
        return
    width = tuple(pool(x).shape)
    if width != (1, backbone.features):
        raise PluginError(
            f"{backbone.build}: its pooled output of one image is {width}, declared are {backbone.features} features.",
            f"features={width[-1]}" if len(width) == 2 else "from (N, 3, H, W) to (N, features, h, w) or (N, features)",
        )


def _cut(divided: Partition, names: Sequence[str], first: int) -> int:
    """Return the number of leading stages that are frozen in the phase after `first` epochs."""
    busy = {o.parameter.stage for o in divided.parameters if trains_in(o.trains_from, first + 1)}
    return next((index for index, name in enumerate(names) if name in busy), len(names))


def _phases(draft: Draft, steps: int) -> tuple[PhasePlan, ...]:
    starts, names = draft.starts, draft.names
    phases = []
    for start, end, cut in zip(starts, [*starts[1:], draft.resolved.arm.schedule.epochs], draft.cuts, strict=True):
        sizes = zip(draft.divided.parameters, draft.network.owned(), strict=True)
        trained = sum(tensor.numel() for owned, (_, tensor) in sizes if trains_in(owned.trains_from, start + 1))
        reason = f"nothing trains before {[*names, HEAD][cut]}" if cut else "the first stage trains"
        reason = {"solved": "the head is solved", "nothing": "nothing trains"}.get(draft.resolved.learns, reason)
        aux_heads = draft.aux_heads.running(draft.divided.parameters, start)
        size = draft.size(start)
        phases.append(
            PhasePlan(
                start + 1,
                end,
                tuple(names[:cut]),
                trained,
                (end - start) * steps,
                reason,
                aux_heads=aux_heads,
                image_size=None if size == draft.resolved.image_size else size,
            )
        )
    return tuple(phases)


def _other_sizes(draft: Draft) -> tuple[SizePlan, ...]:
    """Return the network's stages for each size of training images that is not the plan's own."""
    found = []
    for size in dict.fromkeys(draft.sizes.values()):
        if size != draft.resolved.image_size:
            flops, outputs = _cost(draft.network, replace(draft.resolved, image_size=size), draft.aux_heads)
            total = sum(count for name, count in flops.items() if name != AUX)
            found.append(SizePlan(size, _stages(draft, flops, outputs), total))
    return tuple(found)


def _stages(draft: Draft, flops: dict[str, int], outputs: dict[str, tuple[int, ...]]) -> tuple[StagePlan, ...]:
    tensors = dict(draft.network.owned())
    rows = []
    beside = {AUX: bool(draft.resolved.backbone.aux_heads), DOMAIN: draft.network.domain_head is not None}
    for name in [*draft.names, HEAD, *(name for name, there in beside.items() if there)]:
        mine = [o for o in draft.divided.parameters if o.parameter.stage == name]
        moving = [o for o in mine if o.trains_from is not None]
        groups = tuple(dict.fromkeys(o.group for o in moving if o.group is not None))
        rows.append(
            StagePlan(
                name=name,
                parameters=sum(tensors[o.parameter].numel() for o in mine),
                trained=sum(tensors[o.parameter].numel() for o in moving),
                trains="solved" if name == HEAD and draft.resolved.learns == "solved" else _when(mine),
                groups=groups,
                peak_lr=tuple(_peak(draft.resolved.arm, group) for group in groups),
                flops=flops.get(name, 0),
                output=outputs.get(name, outputs[HEAD]),
            )
        )
    return tuple(rows)


def _when(owned: Sequence[Owned]) -> str:
    froms = {o.trains_from for o in owned}
    if len(froms) > 1:
        return "partly"
    first = froms.pop() if froms else None
    return "never" if first is None else "always" if first == 0 else f"from epoch {first + 1}"


def _groups(draft: Draft) -> tuple[GroupPlan, ...]:
    """Return the groups in the order of their first parameter."""
    arm = draft.resolved.arm
    optimizer = arm.optimizer
    sizes: dict[str, int] = {}
    for owned, (_, tensor) in zip(draft.divided.parameters, draft.network.owned(), strict=True):
        if owned.trains_from is not None and owned.group is not None:
            sizes[owned.group] = sizes.get(owned.group, 0) + tensor.numel()
    rows = []
    for name, size in sizes.items():
        rate = arm_checks.rate(arm.lr_groups[name])
        momentum = None
        if optimizer.name == "sgd":
            momentum = optimizer.momentum if rate.momentum is None else rate.momentum
        decay = optimizer.weight_decay if rate.weight_decay is None else rate.weight_decay
        rows.append(GroupPlan(name, _peak(arm, name), decay, momentum, size))
    return tuple(rows)


def _peak(arm: Arm, group: str) -> float | None:
    """Return the peak rate of a group; None where a range test chooses it."""
    peak = arm_checks.rate(arm.lr_groups[group]).lr
    return None if peak == AUTO else peak


def _warnings(draft: Draft, batch: int) -> tuple[str, ...]:
    """Return the plan's warnings, for instance about parts that are frozen with random weights."""
    weights = draft.resolved.arm.backbone.weights
    frozen = dict.fromkeys(o.parameter.stage for o in draft.divided.parameters if o.trains_from is None)
    if not draft.aux_heads.running(draft.divided.parameters, draft.resolved.arm.schedule.epochs):
        frozen.pop(AUX, None)
    random = [stage for stage in frozen if weights == "none" or (stage in (HEAD, *BESIDE) and not weights.startswith("run:"))]
    lines = [f"frozen with random weights: {', '.join(random)}; they will never learn anything"] if random else []
    resolved = draft.resolved
    if resolved.learns == "steps":
        trained = {o.parameter.stage for o in draft.divided.parameters if o.trains_from is not None}
        lines += adaptation.of_no_use(resolved.adaptation, [name for name in draft.names if name in trained], resolved.arm)
    said = resolved.arm.backbone.input is not None
    lines += [*preprocessing.warnings(weights, resolved.convention, resolved.trained, said=said), *draft.facts.warnings]
    if resolved.learns == "steps" and 0 < draft.facts.images.train < batch:
        lines.append(f"data.batch_size {batch} is more than the {draft.facts.images.train} training images: one step an epoch")
    lines += filter(None, (licence.warning for licence in licences.of(resolved.arm, resolved.backbone)))
    return tuple(lines)
