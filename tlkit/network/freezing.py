"""Freeze and unfreeze a network for a phase."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlkit.network.network import Network


def freeze_(network: Network, trains: Callable[[str], bool], *, running_norms: bool = False) -> None:
    """Set the network to one phase: frozen parts take no gradient and run in eval mode.

    A module is in training mode only where the nearest module around it that owns parameters has one that trains, itself
    included; so a frozen BatchNorm uses and keeps its running statistics, and a frozen stage has no dropout. A stage without
    parameters is as the stage before it, the first one frozen.

    Args:
        network: Changed in place.
        trains: Whether the parameter of a name trains.
        running_norms: The BatchNorm layers of the backbone and of its auxiliary classifiers use and keep their running statistics
            where their parameters train, too; those of the head do not, which has none yet.
    """
    for parameter, tensor in network.owned():
        tensor.requires_grad_(trains(parameter.name))
        if not tensor.requires_grad:
            tensor.grad = None
    network.training = True
    around = False
    for module in (*network.stages.values(), network.head):
        _mode_(module, around)
        around = module.training
    for module in (*network.aux_heads.values(), *([] if network.domain_head is None else [network.domain_head])):
        _mode_(module, False)
    for around_norms in (network.stages, network.aux_heads) if running_norms else ():
        for module in around_norms.modules():
            if isinstance(module, _BatchNorm):
                module.training = False


def batch_normed(module: nn.Module) -> int:
    """Return the channels that BatchNorm layers in training mode normalise by the batch, all layers together."""
    return sum(each.num_features for each in module.modules() if isinstance(each, _BatchNorm) and each.training)


def _mode_(module: nn.Module, around: bool) -> None:
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else around
    for child in module.children():
        _mode_(child, module.training)
