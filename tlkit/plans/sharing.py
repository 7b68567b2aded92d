"""How a run is shared by several processes, and which is not: parts of a batch, BatchNorm, what a step sends. Imports no torch.

The rule: what is learned is the recipe's. The number of processes is in no digest, and changes results by rounding alone, except where
BatchNorm normalises over the images of one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from tlkit import units
from tlkit.errors import TlkitError
from tlkit.plans.plan import Choice, MemoryPlan, Plan, ProcessesPlan
from tlkit.plans.resolved import Resolved
from tlkit.recipe.recipe import Recipe

# Images of one process below which BatchNorm normalises over all of them: statistics of fewer are noisy, and accuracy falls.
# Wu & He 2018, arXiv:1803.08494, table 3: ImageNet error of ResNet-50 with 32, 16, 8 and 4 images is 23.6, 23.7, 24.8 and 27.3 %.
FEW = 16
_FEWEST = 2  # images that can be normalised at all
_GRADIENT = 4  # bytes: gradients are float32 in every precision


def refuse_unshared(recipe: Recipe, arms: Mapping[str, Resolved], arm: str | None, *, where: str) -> None:
    """Refuse what several processes do not share.

    Args:
        recipe: The recipe.
        arms: All of its arms.
        arm: The only one that is asked for; None for all.
        where: Begins the message.

    Raises:
        TlkitError: the recipe has a search, or an arm that is asked for takes steps with images of a target.
    """
    if recipe.search is not None:
        raise TlkitError(
            f"{where}: search: its trials are not shared by several processes.",
            "start one process for a run, or leave [search] out",
        )
    for name, each in arms.items():
        adaptation = each.adaptation
        if arm not in (None, name) or adaptation is None or not adaptation.in_steps or each.learns != "steps":
            continue
        table = adaptation.table
        if each.unlabelled is not None:
            what = "data.unlabelled: each batch has such images"
        elif adaptation.by_steps:
            what = f"adapt.method: {table.method} compares whole batches of both domains"
        else:
            what = f"adapt.labels_per_class: is {table.labels_per_class}, and each batch has such images"
        raise TlkitError(f"{where}: arm {name}: {what}, which several processes do not share.", "start one process for a run")


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
    sent = summed * 2 * (count - 1) // count
    least = plan.batch_size // count
    choices = [Choice("processes", f"{count}, each with {_each(plan.batch_size, count)} of a batch", "as they were started")]
    if plan.learns == "steps":
        choices.append(
            Choice(
                "sent by each process", f"{sent / 1e6:.1f} MB a step", f"gradients of {summed / 1e6:.1f} MB, added up in a ring"
            )
        )
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
