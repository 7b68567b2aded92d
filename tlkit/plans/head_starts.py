"""Heads that are trained and begin solved: what they need, and the plan of the pass that their first weights come from. No torch.

Source: Kumar et al. 2022, arXiv:2202.10054 (LP-FT): features are distorted less if training begins with a head that fits them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tlkit import tasks
from tlkit.errors import TlkitError
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import Choice, ImagesPlan, Learns, PhasePlan, Plan
from tlkit.plugin import Head, registry
from tlkit.recipe import parsing
from tlkit.recipe.maps import HEAD, Partition
from tlkit.recipe.recipe import Arm
from tlkit.recipe.schedules import Constant
from tlkit.sources import weight_files

SOLVED: Final = "solved"
_KIND = "logistic"
_RANDOM = 'head.start = "random"'


def problems(arm: Arm, head: Head, *, learns: Learns, source_free: bool) -> Iterator[TlkitError]:
    """Yield why the head of an arm cannot begin solved, where it is to.

    Args:
        arm: Its tables.
        head: The head plugin.
        learns: What the arm learns.
        source_free: It adapts to a target without the source.
    """
    if arm.head.start != SOLVED:
        return
    kind, said = arm.head.kind, f'head.start: is "{SOLVED}"'
    if learns != "steps":
        why = f"the {kind} head is solved, and not trained afterwards" if learns == "solved" else "nothing is trained"
        yield TlkitError(f"{said}, but {why}.", "leave it out")
        return
    if not head.starts_solved or not tasks.get(head.task).targets.one_class:
        usable = [entry.name for entry in registry.entries(Head) if registry.get(Head, entry.name).starts_solved]
        yield TlkitError(
            f"{said}, but the {kind} head is not one linear layer that learns one class of each image.",
            f"{_RANDOM}, or head.kind, one of: {', '.join(sorted(usable))}",
        )
    if arm.backbone.weights == weight_files.NONE:
        yield TlkitError(
            f'{said}, but backbone.weights = "{weight_files.NONE}": the features of random weights are not worth a fit.',
            f"{_RANDOM}, or pretrained weights",
        )
    if source_free:
        yield TlkitError(
            f"{said}, but [adapt] trains without labels, and the head is that of the earlier run.",
            f"{_RANDOM}, or leave it out",
        )


def frozen(arm: Arm, divided: Partition) -> list[TlkitError]:
    """Return the problem of a head that begins solved and never trains."""
    never = any(owned.trains_from is None for owned in divided.parameters if owned.parameter.stage == HEAD)
    if arm.head.start != SOLVED or not never:
        return []
    return [
        TlkitError(
            f'freeze: the head, or a part of it, never trains, but head.start is "{SOLVED}".',
            f'{_RANDOM}, or leave freeze.head out; a head that is solved and stays so: head.kind = "{_KIND}"',
        )
    ]


def plugins(mine: NetworkPlugins, arm: Arm) -> NetworkPlugins:
    """Return what a network is built from, with a logistic regression as its head; it weighs classes alike if the loss does."""
    head = registry.get(Head, _KIND)
    options = {"balanced": arm.loss.class_weights == "balanced"}
    return replace(mine, head=head, head_options=parsing.options(head.options, options, place="head.options"))


def plan_of(plan: Plan) -> Plan:
    """Return the plan of the pass over the training images that a run's head begins with, before forms and stores are chosen."""
    arm = plan.tables
    tables = {
        "head": arm.head.model_copy(update={"kind": _KIND, "options": {}, "aux_weight": None}),
        "data": arm.data.model_copy(update={"augment": [], "augment_views": None}),
        "schedule": Constant(name="constant", epochs=1),
        "adapt": None,
        "select_by": "auto",
    }
    names = tuple(stage.name for stage in plan.stages[: plan.depth])
    return replace(
        plan,
        tables=arm.model_copy(update=tables),
        phases=(PhasePlan(1, 1, names, 0, 0, "the head is solved"),),
        images=ImagesPlan(plan.images.train, 0, 0, plan.images.source),
        choices=(),
        learns="solved",
    )


def told(plan: Plan, start: Plan) -> Plan:
    """Return a run's plan that also says how the pass for its head runs, and whether that is stored."""
    said = [
        Choice(each.what.replace("fixed prefix", "head start, features"), each.value, each.reason)
        for each in start.choices
        if each.what.startswith("fixed prefix") and each.reason
    ]
    return replace(plan, choices=(*plan.choices, *said))
