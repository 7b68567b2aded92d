"""How many batches and optimizer steps an epoch has. Imports no torch."""

from __future__ import annotations

import math

from tlkit.plans.plan import Plan


def batches_per_epoch(images: int, batch: int) -> int:
    """Return the batches of an epoch; a last batch of one image is left out, since BatchNorm cannot learn from one."""
    whole, rest = divmod(images, batch)
    return whole + (rest > 1 or (rest == 1 and (whole == 0 or batch == 1)))


def steps_per_epoch(images: int, batch: int, accumulate: int) -> int:
    """Return the optimizer steps of an epoch; the last may take fewer batches than `accumulate`."""
    return max(math.ceil(batches_per_epoch(images, batch) / accumulate), 1)


def why_no_full_group(plan: Plan) -> str:
    """Return why no accumulation group of an epoch is full, so that there is nothing to capture; empty if one is."""
    accumulate = plan.tables.optimizer.accumulate
    needed = plan.batch_size * accumulate
    if not 0 < plan.images.train < needed:  # none where nothing is counted yet
        return ""
    batches = "a batch" if accumulate == 1 else f"{accumulate} accumulated batches"
    return f"{batches} would be {needed} images, and there are {plan.images.train}"
