"""Whether test images, and the other data sets of `also`, are evaluated in every epoch or once at the end. Imports no torch.

The rule: all arms of a recipe do the same, so that their curves can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tlkit.plans.choices import flops, training_flops
from tlkit.plans.plan import Choice, PhasePlan, Plan
from tlkit.recipe.evaluation import Evaluation
from tlkit.record.formats import WhenTested

_HALF = 0.5  # of the operations of all epochs, from which on evaluating in every epoch is too much


def decide(plans: Sequence[Plan]) -> WhenTested:
    """Return when the test images of arms that are compared are evaluated.

    Args:
        plans: Of all arms, with their stores; those that take no steps evaluate once in any case.
    """
    trained = [plan for plan in plans if plan.learns == "steps"]
    tests = sum(_tests(plan) for plan in trained)
    whole = tests + sum(_others(plan) for plan in trained)
    if not tests or tests < _HALF * whole:
        return WhenTested("every", f"it takes about {tests / max(whole, 1):.0%} of the time")
    return WhenTested("end", f"in every epoch it would take about {tests / whole:.0%} of the time")


def apply(plan: Plan, tested: WhenTested) -> Plan:
    """Return a plan that evaluates its test images when that was decided."""
    if plan.learns != "steps" or not (plan.images.test or plan.images.also):
        return plan
    what = "after every epoch" if tested.when == "every" else "once, for the best epoch"
    choice = Choice("test images are evaluated", what, tested.reason)
    return replace(plan, tested=tested.when, choices=(*plan.choices, choice))


def asked(evaluation: Evaluation, kept: WhenTested | None, plans: Sequence[Plan]) -> WhenTested:
    """Return when test images are evaluated: as the recipe says, or as was decided before, or as is decided now.

    Args:
        evaluation: Of the recipe.
        kept: What was decided before.
        plans: Of all arms, with their stores.
    """
    if evaluation.test != "auto":
        return WhenTested(evaluation.test, "as the recipe says")
    return kept or decide(plans)


def _tests(plan: Plan) -> float:
    """Floating-point operations of evaluating the test images, and those of `also`, in every epoch."""
    images = plan.images.test + sum(plan.images.also.values())
    return sum(phase.epochs * images * _evaluated(plan, phase) for phase in plan.phases)


def _others(plan: Plan) -> float:
    """Floating-point operations of everything else in all epochs."""
    total, images = 0.0, plan.images
    for phase in plan.phases:
        trained = images.train * training_flops(plan, phase)
        total += phase.epochs * (trained + images.validation * _evaluated(plan, phase))
    return total


def _evaluated(plan: Plan, phase: PhasePlan) -> float:
    """Floating-point operations of evaluating one image: without the fixed prefix where its output is stored."""
    before = flops(plan, 0, len(phase.prefix))
    stored = phase.fixed is not None and phase.fixed.evaluation is not None
    return plan.flops_per_image - (before if stored else 0)
