"""Licences of the weights and the data set of a run, as the plugins state them. Imports no torch.

The rule: tlkit repeats what the publishers state and says where that forbids commercial use; it knows no more than they say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tlkit.errors import PluginError
from tlkit.plugin import Backbone, Dataset, registry
from tlkit.recipe.recipe import Arm

# Words by which a licence forbids commercial use. The last two are names in timm: apple-amlr is Apple's Machine Learning Research
# Model Licence, "exclusively for Research Purposes"; seer-license that of Meta's SEER, for "Noncommercial Purposes".
_FORBIDDING = re.compile(r"\bNC\b|non-?commercial|research use|apple-amlr|seer-license", re.IGNORECASE)
_UNKNOWN = ("", "unknown")  # the second is timm's word


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
    def words(self) -> str:
        """The licence in words: its text, or that none is stated."""
        return "none stated" if self.text.lower() in _UNKNOWN else self.text

    @property
    def forbids_commercial_use(self) -> bool:
        """Whether the text says so."""
        return _FORBIDDING.search(self.text) is not None

    @property
    def warning(self) -> str:
        """That it forbids commercial use, in words; "" where it does not say so."""
        return f"the licence of the {self.of} forbids commercial use: {self.text}" if self.forbids_commercial_use else ""


def of(arm: Arm, backbone: Backbone) -> tuple[Licence, ...]:
    """Return the licences of an arm's weights and data set.

    Args:
        arm: Its weights have the backbone's own name for them.
        backbone: The plugin.
    """
    name, weights = arm.backbone.name, arm.backbone.weights
    found = []
    if weights in backbone.weights:
        found.append(Licence(f"weights {weights} of {name}", backbone.weights[weights].licence))
    elif weights != "none":
        found.append(Licence(f"weights {weights}", ""))
    return (*found, Licence(f"data set {arm.data.name}", _of_data(arm.data.name)))


def _of_data(name: str) -> str:
    """The licence of a data set's images; "" where its plugin is not installed here."""
    try:
        return registry.get(Dataset, name).licence
    except PluginError:
        return ""
