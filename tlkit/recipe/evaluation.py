"""The table [evaluation] at the head of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.recipe.table import Table


class Evaluation(Table):
    """When the test images, and other data sets of `also`, are evaluated. They choose nothing, so the result is the same."""

    test: Literal["auto", "every", "end"] = Field(
        default="auto",
        description='when test images and those of `also` are evaluated: after "every" epoch, or at the "end", for the best epoch '
        'only; "auto" is every epoch if that takes less than half of the time',
    )
