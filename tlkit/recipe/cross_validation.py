"""The table [cross_validation] at the head of a recipe."""

from __future__ import annotations

from pydantic import Field

from tlkit.recipe.table import Table


class CrossValidation(Table):
    """Cross-validation: every arm is trained once for each fold, and tested on the images of that fold."""

    folds: int = Field(
        ge=2,
        le=1000,  # more than anyone trains; a slip of 1e9 would fill the memory with jobs
        description="number of folds, for instance 5. Each class is divided evenly; images of one group stay in one fold",
    )
