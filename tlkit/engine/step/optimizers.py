"""Build the optimizer of a plan, and save and load its state.

The rule: only fused kernels, since they alone take a rate from a tensor without reading it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tlkit.network.network import Network
from tlkit.plans.plan import GroupPlan, Plan
from tlkit.recipe.optimizers import Adam, AdamW, Sgd

_PREFIX = "optimizer/"


def build_optimizer(network: Network, plan: Plan, device: torch.device) -> torch.optim.Optimizer:
    """Build the optimizer with all parameters that train in any phase, and learning rates as 0-d tensors on the device.

    The constructors read a tensor rate back to check it, so they get numbers and the tensors are put in afterwards. What
    `step()` then asks the device for, seen in torch 2.14 (tests/test_step.py):

    ========  ============================  ======================================================  =======
    kind      for-loop                      foreach                                                 fused
    ========  ============================  ======================================================  =======
    SGD       the rate, once a parameter    the rate, once a group                                  nothing
    Adam(W)   rate and step, a parameter    refuses a tensor rate, or is capturable and needs CUDA  nothing
    ========  ============================  ======================================================  =======
    """
    groups = [
        {"params": [tensor for _, tensor in members], "name": group.name, **_settings(group)}
        for group, members in _members(network, plan)
    ]
    optimizer = _construct(groups, plan, fused=device.type in ("cpu", "cuda"))
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        # Fused SGD fails where one parameter of a group begins later than another. From zeros its first step is the same.
        for parameter in group["params"] if group.get("momentum") else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def state(optimizer: torch.optim.Optimizer, network: Network, plan: Plan) -> dict[str, Tensor]:
    """Return the optimizer's own tensors as "optimizer/<parameter>/<key>"; they are not copies."""
    return {
        f"{_PREFIX}{name}/{key}": value
        for _, members in _members(network, plan)
        for name, parameter in members
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], network: Network, plan: Plan) -> None:
    """Set the state to what `state` returned, in the memory order of the parameters.

    The fused kernels walk parameter, gradient and state side by side in memory and never look at strides, so a contiguous
    momentum beside a channels-last weight would update the wrong elements without a word.

    Args:
        optimizer: Changed in place; a tensor that exists keeps its address.
        tensors: The saved tensors by name; other names are ignored.
        network: The network that the optimizer trains.
        plan: Which parameters have state.

    Raises:
        RuntimeError: a tensor has another shape than its parameter.
    """
    for _, members in _members(network, plan):
        for name, parameter in members:
            prefix = f"{_PREFIX}{name}/"
            saved = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            own = optimizer.state[parameter] if saved else optimizer.state.pop(parameter, {})
            for key, tensor in saved.items():
                if tensor.ndim and tensor.shape != parameter.shape:
                    raise RuntimeError(f"{prefix}{key} is {tuple(tensor.shape)}, its parameter {tuple(parameter.shape)}")
                if key not in own:
                    own[key] = torch.empty_like(
                        parameter if tensor.ndim else tensor, dtype=tensor.dtype, device=parameter.device
                    )
                own[key].detach().copy_(tensor)


def _members(network: Network, plan: Plan) -> Iterator[tuple[GroupPlan, list[tuple[str, nn.Parameter]]]]:
    """Return each group's parameters that train in any phase, by name."""
    tensors = {parameter.name: tensor for parameter, tensor in network.owned()}
    for group in plan.groups:
        names = [p.name for p in plan.parameters if p.trains_from is not None and p.group == group.name]
        yield group, [(name, tensors[name]) for name in names]


def _settings(group: GroupPlan) -> dict[str, float]:
    settings = {"lr": group.lr or 0.0, "weight_decay": group.weight_decay}
    return settings if group.momentum is None else {**settings, "momentum": group.momentum}


def _construct(groups: list[dict[str, object]], plan: Plan, *, fused: bool) -> torch.optim.Optimizer:
    match table := plan.tables.optimizer:
        case Sgd():
            return torch.optim.SGD(groups, nesterov=table.nesterov, momentum=table.momentum, fused=fused)
        case Adam():
            kind = torch.optim.AdamW if isinstance(table, AdamW) else torch.optim.Adam
            return kind(groups, betas=table.betas, eps=table.eps, fused=fused)
