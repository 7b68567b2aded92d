"""Make the plan of a resolved arm on the meta device, without weights, images or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tlkit import tasks
from tlkit.compiler import gpu_choices, memory_estimate, network_cost, plan_choices, solved_checks
from tlkit.compiler.memory_estimate import WHOLE, Division, Draft
from tlkit.compiler.network_cost import Cost
from tlkit.engine import formats
from tlkit.errors import RecipeError, TlkitError
from tlkit.network import freezing
from tlkit.network.network import Network
from tlkit.plans import adaptation_checks, arm_checks, compared_stages, head_starts, licences, preprocessing
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.batches import steps_per_epoch
from tlkit.plans.dataset_facts import DataFacts
from tlkit.plans.plan import Choice, GroupPlan, ParameterPlan, PhasePlan, Plan, SizePlan, StagePlan, trains_in
from tlkit.plans.resolved import Resolved
from tlkit.recipe import expansion, maps
from tlkit.recipe.map_tables import AUTO
from tlkit.recipe.maps import AUX, BESIDE, DOMAIN, HEAD, Owned, Partition
from tlkit.recipe.recipe import Arm
from tlkit.tasks import named_classes


def compile_plan(
    resolved: Resolved,
    facts: DataFacts,
    *,
    where: str,
    device: torch.device,
    batch_size: int | None = None,
    division: Division = WHOLE,
    folder: str = ".",
) -> Plan:
    """Make the plan of one arm, with plain forms and no store yet: see `tuning.tuned`.

    Args:
        resolved: The arm with its plugins.
        facts: Classes and counts of the images.
        where: Begins every message, usually the recipe's file.
        device: The device whose memory batch_size = "auto" fits.
        batch_size: The batch size that "auto" chose for a run that is continued; None for a new run.
        division: The processes that share a batch, whose parts "auto" fits into the memory of each.
        folder: Where the recipe's relative paths begin.

    Raises:
        RecipeError: a key of the maps owns no parameter, a parameter trains without a rate, or a head cannot be solved.
    """
    draft = _draft(resolved, facts, where=where, device=device)
    cost = network_cost.cost(draft.network, resolved, draft.aux_heads, facts.classes)
    if problems := list(solved_checks.problems(resolved, facts, draft.network, cost)):
        raise RecipeError(p.at(where) for p in problems)
    batch, chosen = memory_estimate.batch_size(draft, batch_size, division)
    made = _plan(draft, cost, batch, chosen, folder=folder)
    if resolved.learns == "steps" and (large := memory_estimate.too_large(draft, batch, made.memory, division)) is not None:
        made = replace(made, warnings=(*made.warnings, large))
    if device.type != "cuda":
        return made
    return replace(made, choices=(*made.choices, *gpu_choices.choices(made, draft.network, channels=resolved.channels)))


def _draft(resolved: Resolved, facts: DataFacts, *, where: str, device: torch.device) -> Draft:
    """Build the network of an arm, divide its parameters among groups and its epochs among phases, and refuse what does not fit."""
    arm, names = resolved.arm, tuple(resolved.backbone.stages)
    network = network_cost.on_meta(resolved, facts.classes)
    owned = [parameter for parameter, _ in network.owned()]
    aux_heads = AuxHeads(resolved.backbone, resolved.image_size, arm.head.aux_weight, resolved.head.pixels)
    freeze, rates = expansion.freeze_map(arm), expansion.rate_map(arm)
    divided = maps.divide(owned, names, freeze, rates, epochs=arm.schedule.epochs, aux_depths=aux_heads.usable)
    problems = _problems(resolved, facts, network, device)
    if resolved.learns == "steps":
        problems += head_starts.frozen(arm, divided)
        problems += maps.problems(divided, stages=names, freeze=freeze, rates=rates, backbone=arm.backbone.name)
    if problems:
        raise RecipeError(p.at(where) for p in problems)
    sizes = dict(arm_checks.sizes(arm, resolved.backbone.image_size)) if resolved.canvas is None else {0: resolved.image_size}
    starts = tuple(sorted({*divided.boundaries(), *sizes}))
    cuts = tuple(_cut(divided, names, first) for first in starts)
    return Draft(resolved, facts, network, divided, starts, cuts, sizes, device, aux_heads)


def _problems(resolved: Resolved, facts: DataFacts, network: Network, device: torch.device) -> list[TlkitError]:
    """Return what of an arm does not fit its images, the device and the network."""
    arm = resolved.arm
    problems = tasks.get(resolved.head.task).data_problems(arm, facts.classes, facts.names)
    if (refused := formats.why_not(arm.precision, device)) is not None:
        problems.append(TlkitError(f'precision: "{arm.precision}": {refused[0]}.', refused[1]))
    return problems + _norm_problems(resolved, network)


def _norm_problems(resolved: Resolved, network: Network) -> list[TlkitError]:
    """Refuse to replace statistics of BatchNorm where a network has none."""
    found = resolved.adaptation
    if found is None or not found.replaces_statistics or any(isinstance(each, _BatchNorm) for each in network.modules()):
        return []
    name = resolved.arm.backbone.name
    return [
        TlkitError(
            f"adapt.method: {found.table.method} replaces the statistics of BatchNorm, and {name} has no BatchNorm.",
            f"another method, for instance {'stats' if resolved.learns == 'solved' else 'mcc'}",
        )
    ]


def _plan(draft: Draft, cost: Cost, batch: int, chosen: Sequence[Choice], *, folder: str) -> Plan:
    """Put the plan together, but for what only a GPU asks for; `chosen` is what was chosen of the batches."""
    resolved, arm, facts = draft.resolved, draft.resolved.arm, draft.facts
    groups = _groups(draft)
    weights = named_classes.weights(arm.loss, facts.names, facts.pixels or facts.per_class)
    steps = 0
    if resolved.learns == "steps":
        steps = steps_per_epoch(facts.images.train, batch, arm.optimizer.accumulate)
    return Plan(
        recipe=resolved.recipe,
        arm=resolved.name,
        tables=arm,
        classes=facts.classes,
        image_size=resolved.image_size,
        batch_size=batch,
        input=resolved.convention,
        stages=_stages(draft, cost),
        parameters=tuple(
            ParameterPlan(o.parameter.name, o.parameter.stage, tuple(tensor.shape), o.trains_from, o.group)
            for o, (_, tensor) in zip(draft.divided.parameters, draft.network.owned(), strict=True)
        ),
        groups=groups,
        phases=_phases(draft, steps),
        images=facts.images,
        steps_per_epoch=steps,
        flops_per_image=cost.total,
        memory=memory_estimate.estimate(draft, batch),
        unused=(*resolved.unused, *draft.divided.unused, *draft.aux_heads.unused(arm.backbone.name)),
        warnings=_warnings(draft, batch),
        licences=licences.of(arm, resolved.backbone),
        pools=draft.network.pools,
        reads=() if draft.network.packing.means else draft.network.packing.reads,
        compared=resolved.compared,
        task=tasks.get(resolved.head.task).name,
        positive=named_classes.positive(arm.head, facts.names),
        class_weights=weights,
        learns=resolved.learns,
        choices=plan_choices.choices(draft, batch=chosen, groups=groups, class_weights=weights),
        folder=folder,
        folds=resolved.folds,
        sizes=_other_sizes(draft),
        canvas=resolved.canvas,
        tile=resolved.tile,
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
        _begin_(draft, start)
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
                normalised=freezing.batch_normed(draft.network),
            )
        )
    return tuple(phases)


def _begin_(draft: Draft, start: int) -> None:
    """Freeze the network as in the phase that begins after `start` epochs."""
    training = {o.parameter.name for o in draft.divided.parameters if trains_in(o.trains_from, start + 1)}
    running = draft.resolved.arm.backbone.batch_norm == "running"
    freezing.freeze_(draft.network, training.__contains__, running_norms=running)


def _other_sizes(draft: Draft) -> tuple[SizePlan, ...]:
    """Return the network's stages for each size of images that is not the plan's own."""
    found = []
    for size in dict.fromkeys([*draft.sizes.values(), draft.resolved.canvas]):
        if size is not None and size != draft.resolved.image_size:
            cost = network_cost.cost(
                draft.network, replace(draft.resolved, image_size=size), draft.aux_heads, draft.facts.classes
            )
            found.append(SizePlan(size, _stages(draft, cost), cost.total))
    return tuple(found)


def _stages(draft: Draft, cost: Cost) -> tuple[StagePlan, ...]:
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
                flops=cost.flops.get(name, 0),
                output=cost.outputs.get(name, cost.outputs[HEAD]),
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


def _unlike_the_head(draft: Draft, trained: set[str]) -> list[str]:
    """Warn where training normalizes by batches what a head that begins solved has read by running statistics."""
    table = draft.resolved.arm
    if table.head.start != head_starts.SOLVED or table.backbone.batch_norm == "running":
        return []
    busy = [name for name in draft.names if name in trained]
    if not any(isinstance(each, _BatchNorm) for name in busy for each in draft.network.stages[name].modules()):
        return []
    return [
        f'head.start: "{head_starts.SOLVED}" fits the head to features by the running statistics of BatchNorm, and training takes those of '
        'each batch: the loss may begin far higher; backbone.batch_norm = "running" keeps both alike'
    ]


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
        lines += adaptation_checks.of_no_use(
            resolved.adaptation, [name for name in draft.names if name in trained], resolved.arm
        )
        lines += compared_stages.of_no_use(resolved.adaptation, [name for name in draft.names if name in trained], draft.names)
        lines += _unlike_the_head(draft, trained)
        lines += adaptation_checks.chosen_by_source(resolved.adaptation, resolved.arm, draft.facts.images)
    said = resolved.arm.backbone.input is not None
    lines += [*preprocessing.warnings(weights, resolved.convention, resolved.trained, said=said), *draft.facts.warnings]
    if resolved.learns == "steps" and 0 < draft.facts.images.train < batch:
        lines.append(f"data.batch_size {batch} is more than the {draft.facts.images.train} training images: one step an epoch")
    lines += filter(None, (licence.warning for licence in licences.of(resolved.arm, resolved.backbone)))
    return tuple(lines)
