"""How a run is shared by several processes, and which is not: parts of a batch, BatchNorm, what a step sends. Imports no torch.

The rule: what is learned is the recipe's. The number of processes is in no digest, and changes results by rounding alone, except where
BatchNorm normalises over the images of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tlkit import units
from tlkit.plans import unlabelled
from tlkit.plans.plan import Choice, MemoryPlan, Plan, ProcessesPlan
from tlkit.record.timings import SharedSpeed

# Images of one process below which BatchNorm normalises over all of them: statistics of fewer are noisy, and accuracy falls.
# Wu & He 2018, arXiv:1803.08494, table 3: ImageNet error of ResNet-50 with 32, 16, 8 and 4 images is 23.6, 23.7, 24.8 and 27.3 %.
FEW = 16
_FEWEST = 2  # images that can be normalised at all
_GRADIENT = 4  # bytes: gradients, and features that are compared, are float32 in every precision
_STATISTICS = 8  # bytes of a channel's mean and variance


def shared(
    plan: Plan, count: int, *, kept: Literal["local", "sync"] | None = None, measured: Sequence[SharedSpeed] = ()
) -> Plan:
    """Return a plan as several processes carry it out; one process carries it out as it is.

    Args:
        plan: The plan of one process.
        count: How many there are.
        kept: How BatchNorm normalises in a run that is continued.
        measured: Speeds of runs like this one on this machine.
    """
    if count == 1:
        return plan
    batch_norm, reason = _batch_norm(plan, count, kept)
    summed = max(_GRADIENT * phase.trained + _STATISTICS * phase.normalised for phase in plan.phases)
    normalised = max(phase.normalised for phase in plan.phases)
    compared, exchanged = _compared(plan), _exchanged(plan, normalised, count) if batch_norm == "sync" else 0
    sent = _ring(summed, count) + compared * (count - 1) // count + exchanged
    least = plan.batch_size // count
    choices = [Choice("processes", f"{count}, each with {_each(plan.batch_size, count)} of a batch", "as they were started")]
    if plan.learns == "steps":
        why = f"{units.size(summed)} of gradients{' and running statistics' if normalised else ''}, added up in a ring"
        if exchanged:
            why += f", {units.size(exchanged)} of BatchNorm over all processes"
        if compared:
            why += f", and {units.size(compared)} of features and answers, which every process compares"
        choices.append(Choice("sent by each process", f"{units.size(sent)} a step", why))
        choices.append(_speed(count, measured))
        if normalised:
            words = {"local": "over the images of one process", "sync": "over the images of all processes"}[batch_norm]
            choices.append(Choice("BatchNorm", words, reason))
    warnings = () if least else (f"a batch has {units.images(plan.batch_size)} for {count} processes: some have none",)
    return replace(
        plan,
        memory=_memory(plan, count, summed),
        processes=ProcessesPlan(count, batch_norm, summed, sent, tuple(measured)),
        choices=(*plan.choices, *choices),
        warnings=(*plan.warnings, *warnings),
    )


def synced(plan: Plan, images: int) -> bool:
    """Return whether BatchNorm normalises over all processes in a batch of so many images, which may be an epoch's last."""
    if plan.processes is None:
        return False
    least = _FEWEST if plan.tables.backbone.batch_norm == "local" else FEW
    return plan.processes.batch_norm == "sync" or images < least * plan.processes.count


def _ring(size: int, count: int) -> int:
    """Return the bytes that each of several processes sends to add up so many. Source: Patarasuk & Yuan 2009, JPDC 69(2)."""
    return size * 2 * (count - 1) // count


def _exchanged(plan: Plan, channels: int, count: int) -> int:
    """Return the bytes that BatchNorm over all processes sends in a step: statistics to all others, and sums of their gradients."""
    statistics = _STATISTICS * channels
    return plan.tables.optimizer.accumulate * (statistics * (count - 1) + _ring(statistics, count))


def _speed(count: int, measured: Sequence[SharedSpeed]) -> Choice:
    """Say what runs of several processes came to on this machine, the share of communication for `count` where it is known."""
    if not measured:
        return Choice("speed of processes", "not measured", "a run with this many processes measures it")
    speeds = ", ".join(f"{each.images_per_second:,.0f} images/s with {each.processes}" for each in measured)
    share = next((each.communication for each in measured if each.processes == count), None)
    why = "" if share is None else f"; adding up took {share:.0%} of a step with {count}"
    return Choice("speed of processes", speeds, f"the last runs on this machine{why}")


def _compared(plan: Plan) -> int:
    """Return the bytes of what a method of domain adaptation compares in a step: features and answers of its domains."""
    found = unlabelled.of_plan(plan)
    if plan.learns != "steps" or found is None or not found.by_steps:
        return 0
    features = plan.stages[plan.depth - 1].output[0]  # channels: no method reads a whole feature map
    images = plan.batch_size * plan.tables.optimizer.accumulate * (1 + found.beside)
    return images * (features + plan.classes) * _GRADIENT


def _batch_norm(plan: Plan, count: int, kept: Literal["local", "sync"] | None) -> tuple[Literal["local", "sync"], str]:
    asked, each = plan.tables.backbone.batch_norm, plan.batch_size // count
    if asked in ("local", "sync"):
        return asked, "as the recipe says"
    if kept is not None:
        return kept, "kept from when this run began"
    if each < FEW:
        return "sync", f"a process has {each} images of a batch, and statistics of fewer than {FEW} are noisy"
    return "local", f"a process has {each} images of a batch, which are enough for statistics"


def _memory(plan: Plan, count: int, summed: int) -> MemoryPlan:
    """Return what one process takes: its part of a batch, and a copy of the gradients in which they are added up."""
    memory, most = plan.memory, -(-plan.batch_size // count)
    activations, images = (-(-part * most // plan.batch_size) for part in (memory.activations, memory.images))
    return replace(memory, gradients=memory.gradients + summed, activations=activations, images=images)


def _each(batch: int, count: int) -> str:
    least, more = divmod(batch, count)
    return f"{least} or {least + 1} images" if more else units.images(least)
