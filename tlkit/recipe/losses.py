"""The table [loss]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from tlkit.recipe.table import LARGEST, Table

ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("=name")]
    | Annotated[dict[str, Annotated[float, Field(ge=0, le=LARGEST)]], Tag("=table")],
    Discriminator(lambda value: "=table" if isinstance(value, dict) else "=name"),
]


class LossTable(Table):
    """Settings of the loss: cross-entropy, or for a multi-label head the mean binary cross-entropy over classes."""

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="part of a label's weight that is spread evenly over all classes, for instance 0.1"
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description='weight of each class in the loss: "balanced" gives rare classes more, training images / (classes x training '
        "images of the class); a table gives weights by class name, and a class that it does not name has 1",
    )
