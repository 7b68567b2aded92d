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
    """Cross-entropy; of a multi-label head binary cross-entropy, the mean over classes."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: ClassWeights | None = Field(
        default=None,
        description='what an image of a class counts in the mean: a table, 1 where it names none, or "balanced": images / '
        "(classes x images of that class), of those that are trained on",
    )
