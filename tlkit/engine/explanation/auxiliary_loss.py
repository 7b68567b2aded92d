"""The loss of auxiliary classifiers that a run never trains: they and what they read are fixed, so it is one number."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tlkit.engine.evaluate import evaluating
from tlkit.engine.images.device_batches import inputs, targets
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Indices
from tlkit.network.network import Network
from tlkit.tasks.objective import Objective

_BATCH = 32


def mean(
    network: Network, part: Part, order: Indices, objective: Objective, *, aux_heads: Mapping[str, int], device: torch.device
) -> float:
    """Return the mean over images of the sum of the auxiliary classifiers' losses, without their weights.

    Args:
        network: In any mode; nothing of it changes.
        part: Images as they are without augmentation.
        order: The images that are computed, positions in the data set.
        objective: The loss of the run.
        aux_heads: Auxiliary classifier -> how many leading stages it reads.
        device: The device that the network is on.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    pieces = zip(inputs(part, order, 0, device, _BATCH), targets(part, order, 0, device, _BATCH), strict=True)
    with evaluating(network), torch.inference_mode():
        for x, y in pieces:
            _, logits = network.carry_with_aux(x, aux_heads=tuple(aux_heads), stop=max(aux_heads.values()))
            for each in logits.values():
                total += objective(each.float(), y).double() * len(y)
    return float(total) / len(order)
