"""`model.stages`: the stages of a network by name, each trainable or frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.errors import TlkitError, nearest
from tlkit.model.arguments import refuse_unknown
from tlkit.recipe.maps import HEAD

Freeze = Callable[[str, bool], object]


class Stage:
    """One stage of the backbone, or the head.

    Attributes:
        name: As a recipe names it.
    """

    name = ""

    def __init__(self, name: str, frozen: Mapping[str, Any], freeze: Freeze) -> None:
        self.name = name
        self._frozen = frozen
        self._freeze = freeze

    @property
    def trainable(self) -> bool:
        """Whether it trains, in some epoch at least. Set it, and compile again before the next fit."""
        wide = False if self.name == HEAD else self._frozen.get("backbone", False)
        return self._frozen.get(self.name, wide) is not True

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, bool | np.bool_):
            raise TlkitError(f"Model.stages: {self.name}: trainable is {value!r}.", "True or False")
        self._freeze(self.name, not value)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse a name that a stage does not have, which would otherwise do nothing."""
        refuse_unknown(f"Model.stages: {self.name}", self, name)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Stage({self.name!r}, trainable={self.trainable})"


class Stages(Mapping[str, Stage]):
    """Stages by name, from input to output, the head last."""

    def __init__(self, names: Sequence[str], frozen: Mapping[str, Any], freeze: Freeze) -> None:
        self._stages = {name: Stage(name, frozen, freeze) for name in names}

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse what is set of all stages, which would otherwise do nothing."""
        refuse_unknown("Model.stages", self, name, 'model.trainable = False, or model.stages["head"].trainable = True')
        super().__setattr__(name, value)

    def __getitem__(self, name: str) -> Stage:
        if not isinstance(name, str):  # a position, as of Keras's layers
            raise TlkitError(
                f"Model.stages: is given {name!r}.",
                "a name, or by position: list(model.stages.values())[-2:]",
                f"stages: {', '.join(self)}",
            )
        if name not in self._stages:
            raise TlkitError(
                f'Model.stages: there is no stage "{name}".', f"stages: {', '.join(self)}", nearest(name, self._stages)
            )
        return self._stages[name]

    def __contains__(self, name: object) -> bool:
        return name in self._stages

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        return f"Stages({', '.join(map(repr, self._stages.values()))})"
