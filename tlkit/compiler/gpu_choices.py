"""What a plan says of a run on a GPU: whether the step is captured, and how much of the fixed prefix is folded."""

from __future__ import annotations

import torch

from tlkit import tasks
from tlkit.engine.prefix.fold import foldable
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network
from tlkit.plans.batches import why_no_full_group
from tlkit.plans.plan import Choice, Plan


def choices(plan: Plan, network: Network, *, channels: int) -> list[Choice]:
    """Return the choices that only a GPU asks for.

    Args:
        plan: The plan of the run.
        network: On the meta device; its modules' modes are changed.
        channels: Of an image.
    """
    return [*_graph(plan), *_folding(plan, network, channels)]


def _graph(plan: Plan) -> list[Choice]:
    if plan.learns != "steps":
        return []
    if why := tasks.get(plan.task).eager or why_no_full_group(plan):
        return [Choice("graph", "none", why)]
    return [
        Choice(
            "graph", "captured, one a phase", "unless --no-graph; a step that cannot be is taken without, and the run says why"
        )
    ]


def _folding(plan: Plan, network: Network, channels: int) -> list[Choice]:
    """Say how many BatchNorm layers of the longest fixed prefix are folded; the run checks each stage in float32 and names what is not."""
    freeze_(network, lambda _: False)
    x, folded, norms = torch.empty(1, channels, *plan.image_size, device="meta"), 0, 0
    with torch.no_grad():
        for stage in list(network.stages.values())[: max(len(phase.prefix) for phase in plan.phases)]:
            found = foldable(stage, x)
            folded, norms, x = folded + found[0], norms + found[1], stage(x)
    if not norms:
        return []
    return [
        Choice(
            "BatchNorm of the fixed prefix", f"{folded} of {norms} folded", "into the convolution before it, checked in float32"
        )
    ]
