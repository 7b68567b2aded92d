"""Learning rates that a recipe leaves to a range test: which groups have none yet, and the plan that has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tlkit.plans.plan import Choice, GroupPlan, Plan, StagePlan
from tlkit.recipe.map_tables import AUTO, Rate
from tlkit.recipe.messages import dotted
from tlkit.recipe.recipe import Arm

# Steps of a range test, and the rates of its first and its last, of the group with the largest. Below a millionth no optimizer of ours
# changes the loss in so few steps, above 10 all of them diverge; fastai's test goes from 1e-7 to 10 in 100.
STEPS, LEAST, MOST = 100, 1e-6, 10.0


def is_auto(arm: Arm, key: str) -> bool:
    """Return whether a key of [lr_groups] leaves its rate to a range test."""
    value = arm.lr_groups.get(key)
    return (value.lr if isinstance(value, Rate) else value) == AUTO


def unknown(plan: Plan) -> tuple[str, ...]:
    """Return the groups of a plan whose rates no range test has chosen yet."""
    return tuple(group.name for group in plan.groups if group.lr is None)


def choices(groups: Iterable[GroupPlan], *, source_alone: bool) -> list[Choice]:
    """Say of each group without a rate how it gets one.

    Args:
        groups: Of the plan.
        source_alone: Steps of the run take images of a target too, which those of a range test do not.
    """
    of = ", with the loss of the source alone," if source_alone else ""
    why = f"a range test of {STEPS} steps{of} chooses it before training, and resolved.toml keeps it; tlkit rates shows it"
    return [Choice(named(group.name), AUTO, why) for group in groups if group.lr is None]


def filled(plan: Plan, rates: Mapping[str, float], *, reason: str) -> Plan:
    """Return a plan whose groups without a rate have the ones that are given.

    Args:
        plan: The plan.
        rates: By group; a group that has a rate keeps it.
        reason: Why they are these.
    """
    open_ = {name: rates[name] for name in unknown(plan) if name in rates}
    told = {named(name): f"{rate:g}" for name, rate in open_.items()}
    return replace(
        plan,
        groups=tuple(replace(group, lr=open_.get(group.name, group.lr)) for group in plan.groups),
        stages=_filled(plan.stages, open_),
        sizes=tuple(replace(size, stages=_filled(size.stages, open_)) for size in plan.sizes),
        choices=tuple(Choice(each.what, told[each.what], reason) if each.what in told else each for each in plan.choices),
    )


def kept(plan: Plan) -> dict[str, float]:
    """Return the rates that a range test chose, by group, as resolved.toml keeps them."""
    return {group.name: group.lr for group in plan.groups if group.lr is not None and is_auto(plan.tables, group.name)}


def named(group: str) -> str:
    """Return the key of a group, as messages name it."""
    return dotted("lr_groups", group)


def _filled(stages: tuple[StagePlan, ...], rates: Mapping[str, float]) -> tuple[StagePlan, ...]:
    return tuple(replace(stage, peak_lr=tuple(map(rates.get, stage.groups, stage.peak_lr))) for stage in stages)
