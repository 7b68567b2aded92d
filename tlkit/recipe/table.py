"""The base of every table of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LARGEST = 1e38  # of a learning rate or weight decay: float32, which they become, ends at 3.4e38


class Table(BaseModel):
    """A table of the recipe: unknown keys, NaN and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
