"""How a run is shared by several processes, and which is not: parts of a batch, BatchNorm, what a step sends. Imports no torch.

The rule: what is learned is the recipe's. The number of processes is in no digest, and changes results by rounding alone, except where
BatchNorm normalises over the images of one process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from tlkit import units
from tlkit.plans import unlabelled
from tlkit.plans.plan import Choice, MemoryPlan, Plan, ProcessesPlan

# Images of one process below which BatchNorm normalises over all of them: statistics of fewer are noisy, and accuracy falls.
# Wu & He 2018, arXiv:1803.08494, table 3: ImageNet error of ResNet-50 with 32, 16, 8 and 4 images is 23.6, 23.7, 24.8 and 27.3 %.
FEW = 16
_FEWEST = 2  # images that can be normalised at all
_GRADIENT = 4  # bytes: gradients, and features that are compared, are float32 in every precision


def shared(plan: Plan, count: int, *, kept: Literal["local", "sync"] | None = None) -> Plan:
    """Return a plan as several processes carry it out; one process carries it out as it is.

    Args:
        plan: The plan of one process.
        count: How many there are.
        kept: How BatchNorm normalises in a run that is continued.
    """
    if count == 1:
        return plan
    batch_norm, reason = _batch_norm(plan, count, kept)
    summed = _GRADIENT * max(phase.trained for phase in plan.phases)
    compared = _compared(plan)
    sent = summed * 2 * (count - 1) // count + compared * (count - 1) // count
    least = plan.batch_size // count
    choices = [Choice("processes", f"{count}, each with {_each(plan.batch_size, count)} of a batch", "as they were started")]
    if plan.learns == "steps":
        why = f"gradients of {summed / 1e6:.1f} MB, added up in a ring"
        if compared:
            why += f", and {compared / 1e6:.1f} MB of features and answers, which every process compares"
        choices.append(Choice("sent by each process", f"{sent / 1e6:.1f} MB a step", why))
        if plan.tables.backbone.batch_norm != "running":
            words = {"local": "over the images of one process", "sync": "over the images of all processes"}[batch_norm]
            choices.append(Choice("BatchNorm", words, reason))
    warnings = () if least else (f"a batch has {units.images(plan.batch_size)} for {count} processes: some have none",)
    return replace(
        plan,
        memory=_memory(plan, count, summed),
        processes=ProcessesPlan(count, batch_norm, summed, sent),
        choices=(*plan.choices, *choices),
        warnings=(*plan.warnings, *warnings),
    )


def synced(plan: Plan, images: int) -> bool:
    """Return whether BatchNorm normalises over all processes in a batch of so many images, which may be an epoch's last."""
    if plan.processes is None:
        return False
    least = _FEWEST if plan.tables.backbone.batch_norm == "local" else FEW
    return plan.processes.batch_norm == "sync" or images < least * plan.processes.count


def _compared(plan: Plan) -> int:
    """Return the bytes of what a method of domain adaptation compares in a step: features and answers of its domains."""
    found = unlabelled.of_plan(plan)
    if plan.learns != "steps" or found is None or not found.by_steps:
        return 0
    features = plan.stages[plan.depth - 1].output[0]  # channels: no method reads a whole feature map
    images = plan.batch_size * plan.tables.optimizer.accumulate * (2 if found.beside else 1)
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
