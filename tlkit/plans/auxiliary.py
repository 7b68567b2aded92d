"""Decide when the auxiliary classifiers of a backbone run, and give the reason if they do not. Imports no torch.

The rule: an auxiliary classifier runs in every phase that trains a stage it reads from. In other phases it is neither run nor
changed, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlkit.plans.plan import Choice
from tlkit.plugin import Backbone
from tlkit.recipe import maps
from tlkit.recipe.maps import Owned
from tlkit.units import Size


@dataclass(frozen=True)
class AuxHeads:
    """The auxiliary classifiers of one arm.

    Attributes:
        backbone: The plugin.
        image_size: Height and width of the network's input, pixels.
        weight: Weight of each one's loss, head.aux_weight; None for the backbone's own weights.
        pixels: The head answers for every pixel, which no auxiliary classifier does, so none of them runs.
    """

    backbone: Backbone
    image_size: Size
    weight: float | None
    pixels: bool = False

    @property
    def usable(self) -> dict[str, int]:
        """Classifiers whose loss counts and whose input is large enough -> number of stages, from the input on, that they read."""
        aux_heads = self.backbone.aux_heads
        if self.weight == 0 or self.pixels:
            return {}
        return {
            name: count
            for name, count in self.backbone.aux_depths.items()
            if min(self.image_size) >= aux_heads[name].minimum_size
        }

    def running(self, parameters: Sequence[Owned], first: int) -> dict[str, float]:
        """Return the loss weight of each classifier that runs in the phase that begins after `first` epochs."""
        begins = {name: self._begins(parameters, name) for name in self.usable}
        return {
            name: self.backbone.aux_heads[name].weight if self.weight is None else self.weight
            for name, begin in begins.items()
            if begin is not None and begin <= first
        }

    def choices(self, parameters: Sequence[Owned]) -> list[Choice]:
        """Return a line of the plan for each classifier that does not run from the start."""
        found = []
        for name, aux_head in self.backbone.aux_heads.items():
            begin = self._begins(parameters, name)
            if self.pixels:
                found.append(Choice(name, "not run, not changed", "it answers for whole images, and the head for every pixel"))
            elif self.weight == 0:
                found.append(Choice(name, "not run, not changed", "head.aux_weight is 0"))
            elif min(self.image_size) < aux_head.minimum_size:
                found.append(Choice(name, "not run, not changed", f"it needs images of at least {aux_head.minimum_size} px"))
            elif begin is None:
                found.append(
                    Choice(name, "not run, not changed", f"nothing trains at or before {aux_head.after}, which it reads")
                )
            elif begin:
                found.append(
                    Choice(name, f"runs from epoch {begin + 1}", f"before that, nothing trains at or before {aux_head.after}")
                )
        return found

    def unused(self, name: str) -> tuple[str, ...]:
        """Return a line if the recipe sets head.aux_weight for a backbone without auxiliary classifiers."""
        if self.weight is None or self.backbone.aux_heads:
            return ()
        return (f"head.aux_weight: {name} has no auxiliary classifier",)

    def _begins(self, parameters: Sequence[Owned], name: str) -> int | None:
        stages = list(self.backbone.stages)[: self.backbone.aux_depths[name]]
        return maps.first_trained(parameters, stages)
