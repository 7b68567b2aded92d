"""The order in which the runs of a recipe are carried out: those that read the same stored outputs follow each other. Imports no torch.

A full store removes what was not used for longest. So outputs of frozen stages that one run stored are read by the next ones before others
take their place.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.plans import precision
from tlkit.plans.plan import Plan

_Rows = tuple[str, str, int]  # network, data and number of stages


def order(plans: Sequence[Plan]) -> list[int]:
    """Return the positions of runs in the order in which they are carried out.

    A run that stores outputs of frozen stages comes behind the last one that has some of the same; all others keep their order.

    Args:
        plans: Of the runs, in the order of the recipe.
    """
    placed: list[int] = []
    rows = [_stored(plan) for plan in plans]
    for run, mine in enumerate(rows):
        behind = [place for place, other in enumerate(placed) if mine & rows[other]]
        placed.insert(behind[-1] + 1 if behind else len(placed), run)
    return placed


def _stored(plan: Plan) -> frozenset[_Rows]:
    """Return which outputs of frozen stages a run stores, or reads where they are stored."""
    fixed = [phase.fixed for phase in plan.phases if phase.fixed is not None]
    stores = [store for each in fixed for store in (each.train, each.evaluation) if store is not None]
    data = plan.tables.data.model_dump_json()
    return frozenset((precision.network(plan), data, store.stages) for store in stores)
