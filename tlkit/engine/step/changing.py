"""Which tensors of a network a run can change, and whether they are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tlkit.network.network import Network
from tlkit.plans.plan import Plan


def changing(network: Network, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors that a run can change, by name, detached; they are not copies.

    These are the parameters that train in any phase, and the buffers of the stages that are not in the fixed prefix of every
    phase, such as BatchNorm's running statistics. All others stay as they were when the run began.

    Args:
        network: The network.
        plan: Which parameters ever train, and the phases.
    """
    parameters = {parameter.name: parameter.trains_from is not None for parameter in plan.parameters}
    cut = min(len(phase.prefix) for phase in plan.phases)
    fixed = {name for stage in list(network.stages.values())[:cut] for name in stage.state_dict()}
    return {name: tensor for name, tensor in network.tensors().items() if parameters.get(name, name not in fixed)}


def finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return, on their device, whether all values are finite numbers: where they are, so is each tensor's sum of magnitudes, in float64."""
    real = [tensor for tensor in tensors if tensor.is_floating_point()]  # a count of batches always is
    return torch.isfinite(torch.stack(torch._foreach_norm(real, 1, dtype=torch.float64))).all()
