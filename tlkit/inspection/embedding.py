"""Embed the images of a run by its frozen backbone: rows come from the store where they are, and are kept there where that is worth it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlkit.engine.evaluate import evaluating
from tlkit.engine.host_rows import HostRows
from tlkit.engine.images.parts import Evaluated, Part, TrainingPart
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.network.network import Network, pool
from tlkit.plans.plan import Plan
from tlkit.plugin import Backbone


def possible(plan: Plan) -> bool:
    """Return whether a plan's first phase has the whole backbone frozen, and its training images are not augmented."""
    return len(plan.phases[0].prefix) == plan.depth and not plan.tables.data.augment


def stored(plan: Plan) -> bool:
    """Return whether a run of a plan has stored the embeddings of all its images."""
    fixed = plan.phases[0].fixed
    if not possible(plan) or fixed is None or fixed.train is None or fixed.train.stages != plan.depth:
        return False
    return not plan.images.held_out or (fixed.evaluation is not None and fixed.evaluation.stages == plan.depth)


def embed(
    network: Network,
    backbone: Backbone,
    plan: Plan,
    train: TrainingPart,
    evaluated: Evaluated,
    runtime: Runtime,
) -> Mapping[str, NDArray[np.float32]]:
    """Return the pooled output of the last stage (n, features) of each part: "train", "validation", "test".

    Args:
        network: On the device.
        backbone: The plugin that built it.
        plan: For which `possible` holds.
        train: Training images.
        evaluated: Validation and test images.
        runtime: Where they are embedded; of several processes by this one alone.
    """
    own = Evaluated(evaluated.validation, evaluated.test)
    alone = replace(runtime, graph=False, ranks=ALONE)
    feed = Feed(network, backbone, plan, plan.phases[0], train, own, alone)
    parts: dict[str, Part] = {"train": train, **own.parts}
    stages = list(network.stages.values())
    with evaluating(network), torch.inference_mode():
        return {name: _embedded(network, stages, feed.held_out(part)) for name, part in parts.items()}


def _embedded(network: Network, stages: Sequence[nn.Module], batches: Iterable[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
    found = HostRows()
    for x, _ in batches:
        found.add_(pool(network.packing.opened(x, stages).last.float()))
    return found.together().numpy()
