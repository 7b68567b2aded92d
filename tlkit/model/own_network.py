"""What a program may change of `model.network`: the values of its tensors, and neither its modules nor what trains."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.errors import TlkitError, first_few
from tlkit.network.network import Network
from tlkit.plans.plan import ParameterPlan
from tlkit.recipe.maps import BESIDE


def written(network: Network) -> list[int]:
    """Return how often each tensor was written since it was made, as torch counts it: a program that loads weights changes them."""
    return [0 if tensor.is_inference() else tensor._version for tensor in network.tensors().values()]


def refuse_other_modules(network: Network, parameters: Sequence[ParameterPlan], *, where: str) -> None:
    """Refuse a network with other parameters than the plan's, which has been given another head for instance.

    Raises:
        TlkitError: names the first of them.
    """
    wanted = {each.name: tuple(each.shape) for each in parameters if each.stage not in BESIDE}
    found = {each.name: tuple(tensor.shape) for each, tensor in network.owned() if each.stage not in BESIDE}
    other = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if other:
        raise TlkitError(
            f"{where}: model.network was changed: it has other parameters than it was built with: {first_few(other)}.",
            'Model(.., head="mlp") names another head; a head or a backbone of your own is a plugin, see docs/plugins.md',
        )


def refuse_unseen_freezing(network: Network, parameters: Sequence[ParameterPlan]) -> None:
    """Refuse `requires_grad = False` of a parameter that the plan trains: fit sets it by what the model says is frozen.

    Raises:
        TlkitError: names the first of them.
    """
    trains = {each.name for each in parameters if each.trains_from is not None}
    frozen = {each.stage: each.name for each, tensor in network.owned() if each.name in trains and not tensor.requires_grad}
    if frozen:
        stage, name = next(iter(frozen.items()))
        raise TlkitError(
            f"Model.fit: {name} has requires_grad False, and {stage} trains.",
            f'model.freeze("{stage}") and compile freeze it; model.network.requires_grad_(True) takes the flag back',
        )
