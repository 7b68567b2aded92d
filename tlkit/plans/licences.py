"""Licences of what a run was made from, as the plugins state them. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tlkit.errors import PluginError
from tlkit.plugin import Backbone, Dataset, registry
from tlkit.recipe.recipe import Arm

_FORBIDDING = re.compile(r"\bNC\b|non-?commercial|research use", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """A licence.

    Attributes:
        of: "weights imagenet1k-v1 of resnet18", for instance.
        text: As the plugin states it; "" where it states none.
    """

    of: str
    text: str

    @property
    def forbids_commercial_use(self) -> bool:
        """Whether the text says so."""
        return _FORBIDDING.search(self.text) is not None


def of(arm: Arm, backbone: Backbone) -> list[Licence]:
    """Return the licences of an arm's weights and data set.

    Args:
        arm: Of a run: its weights have the backbone's own name for them.
        backbone: The plugin.
    """
    name, weights = arm.backbone.name, arm.backbone.weights
    found = []
    if weights in backbone.weights:
        found.append(Licence(f"weights {weights} of {name}", backbone.weights[weights].licence))
    elif weights != "none":
        found.append(Licence(f"weights {weights}", ""))
    return [*found, Licence(f"data set {arm.data.name}", _of_data(arm.data.name))]


def _of_data(name: str) -> str:
    """The licence of a data set's images; "" where its plugin is not installed here."""
    try:
        return registry.get(Dataset, name).licence
    except PluginError:
        return ""
