"""Check [head], and find the keys of a recipe that have no effect if the head is solved or nothing trains.

The rule: no key is ignored silently. A key that contradicts a solved head is an error; one that has no effect is reported as
unused. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlkit.errors import TlkitError, nearest
from tlkit.plugin import Backbone, Head
from tlkit.recipe.losses import LossTable
from tlkit.recipe.messages import dotted
from tlkit.recipe.optimizers import AdamW
from tlkit.recipe.recipe import Arm
from tlkit.recipe.schedules import Constant, OneCycle
from tlkit.recipe.tables import HeadTable

_ONCE = Constant(name="constant", epochs=1)


def problems(table: HeadTable, head: Head, backbone: Backbone, name: str) -> Iterator[TlkitError]:
    """Yield the keys of [head] that do not fit the head plugin or the backbone called `name`."""
    if table.embed is not None and table.embed not in backbone.stages:
        yield TlkitError(
            f'head.embed: {name} has no stage "{table.embed}".',
            f"stages: {', '.join(backbone.stages)}",
            nearest(table.embed, backbone.stages),
        )
    if (head.maps or head.several) and not table.pooled:
        yield TlkitError(
            f"head.pooled: is false, but the {table.kind} head always reads the whole feature map.", "leave it out"
        )


def conflicts(arm: Arm) -> Iterator[TlkitError]:
    """Yield the problems of an arm whose head is solved, not trained: keys that would train the backbone."""
    for key, value in arm.freeze.items():
        if value is not True:
            said = "false" if value is False else "for some epochs only"
            yield TlkitError(
                f"{dotted('freeze', key)}: is {said}, but the {arm.head.kind} head is computed from the features of a frozen network.",
                'leave it out, or take a head that is trained with gradients, for instance head.kind = "linear"',
            )


def alone(arm: Arm, *, solved: bool) -> tuple[Arm, tuple[str, ...]]:
    """Return an arm that needs no training steps with its unused keys reset to their defaults, and a line for each of these keys.

    Args:
        arm: The arm; its head is solved, or nothing in it trains.
        solved: Whether the head is solved.
    """
    given = {
        "lr_groups": bool(arm.lr_groups),
        "optimizer": arm.optimizer != AdamW(name="adamw"),
        "schedule": arm.schedule not in (_ONCE, OneCycle(name="one_cycle")),
        "loss": arm.loss != LossTable(),
        "early_stopping": arm.early_stopping is not None,
        "data.augment": bool(arm.data.augment),
        "data.crop_size": arm.data.crop_size is not None,
        "head.aux_weight": arm.head.aux_weight is not None,
        "select_by": arm.select_by != "auto" and not solved,
    }
    why = f"the {arm.head.kind} head is solved, not trained" if solved else "nothing is trained"
    lines = tuple(f"{name}: {why}" for name, said in given.items() if said)
    usual = {
        "freeze": {"backbone": True} if solved else {"backbone": True, "head": True},
        "lr_groups": {},
        "optimizer": AdamW(name="adamw"),
        "schedule": _ONCE,
        "loss": LossTable(),
        "early_stopping": None,
        "data": arm.data.model_copy(update={"augment": [], "augment_views": None, "crop_size": None}),
        "head": arm.head.model_copy(update={"aux_weight": None}),
        "select_by": arm.select_by if solved else "auto",
    }
    return arm.model_copy(update=usual), lines
