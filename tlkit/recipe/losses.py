"""The table [loss]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tlkit.recipe.messages import problem, shown
from tlkit.recipe.table import LARGEST, Table, chosen_by

_Weights = dict[str, Annotated[float, Field(ge=0, le=LARGEST)]]
_WEIGHTS: TypeAdapter[dict[str, float]] = TypeAdapter(_Weights, config=Table.model_config)


def _class_weights(value: object) -> Literal["balanced"] | dict[str, float]:
    if isinstance(value, dict):
        return _WEIGHTS.validate_python(value)
    if value == "balanced":
        return "balanced"
    raise problem(f"is {shown(value)}.", '"balanced", or a table of weights by class name: { cat = 2.0, dog = 1.0 }')


ClassWeights = Annotated[
    Literal["balanced"] | _Weights,
    chosen_by(_class_weights),
]


class LossTable(Table):
    """Settings of the loss: cross-entropy, or for a multi-label head the mean binary cross-entropy over classes."""

    name: Literal["cross_entropy"] = Field(default="cross_entropy", description="cross_entropy is the only one so far")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="part of a label's weight that is spread evenly over all classes, for instance 0.1"
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description='weight of each class in the loss: "balanced" gives rare classes more, training images / (classes x training '
        "images of the class), of masks likewise by pixels; a table gives weights by class name, and a class that it does not name has 1",
    )
    dice: float = Field(
        default=0.0,
        ge=0,
        le=LARGEST,
        description="heads of masks: weight of 1 - Dice beside the cross-entropy, which has weight 1; of two classes, of the second",
    )
    focal: float = Field(
        default=0.0,
        ge=0,
        le=LARGEST,
        description="heads of masks: weight of the focal loss (gamma = 2) beside the cross-entropy",
    )

    @property
    def terms(self) -> dict[str, float]:
        """The weights of what is added to the cross-entropy, by key."""
        return {"dice": self.dice, "focal": self.focal}
