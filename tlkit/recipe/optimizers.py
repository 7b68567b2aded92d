"""The table [optimizer]: one class for each optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkit.recipe.table import LARGEST, Table


class OptimizerTable(Table):
    """The keys that every optimizer has."""

    clip_norm: float | None = Field(
        default=None,
        gt=0,
        description="gradients are scaled down to this norm, taken over all of them, where it is larger. Default: no clipping",
    )
    accumulate: int = Field(
        default=1, ge=1, description="number of batches whose gradients are accumulated for one optimizer step"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of the weights, for instance 0.999; the average is what is evaluated",
    )


class Sgd(OptimizerTable):
    """SGD, as torch.optim.SGD."""

    name: Literal["sgd"]
    momentum: float = Field(default=0.9, ge=0, lt=1, description="fraction of the last step that is added to this one")
    nesterov: bool = Field(default=False, description="use Nesterov momentum")
    weight_decay: float = Field(default=0.0, ge=0, le=LARGEST, description="factor of the L2 penalty")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self


class Adam(OptimizerTable):
    """Adam, as torch.optim.Adam."""

    name: Literal["adam"]
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), strict=False, description="decay of the averages of the gradient and of its square"
    )
    eps: float = Field(default=1e-8, gt=0, description="added to the denominator, so that it is never 0")
    weight_decay: float = Field(default=0.0, ge=0, le=LARGEST, description="factor of the L2 penalty")


class AdamW(Adam):
    """AdamW, as torch.optim.AdamW."""

    name: Literal["adamw"]  # type: ignore[assignment]  # narrows the discriminator on purpose
    weight_decay: float = Field(
        default=0.01, ge=0, le=LARGEST, description="decoupled weight decay; each step shrinks weights by this times the rate"
    )


Optimizer = Sgd | Adam | AdamW
