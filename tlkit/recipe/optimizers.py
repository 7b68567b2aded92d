"""The table [optimizer]: one class for each optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkit.recipe.table import LARGEST, Table


class OptimizerTable(Table):
    """What every optimizer has."""

    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of all gradients together")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="part of the running mean of the weights that a step keeps; the mean is evaluated"
    )


class Sgd(OptimizerTable):
    """torch.optim.SGD."""

    name: Literal["sgd"]
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0, le=LARGEST)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self


class Adam(OptimizerTable):
    """torch.optim.Adam."""

    name: Literal["adam"]
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), strict=False
    )
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0, le=LARGEST)


class AdamW(Adam):
    """torch.optim.AdamW."""

    name: Literal["adamw"]  # type: ignore[assignment]  # narrows the discriminator on purpose
    weight_decay: float = Field(default=0.01, ge=0, le=LARGEST)
