"""The table [schedule]: one class for each learning-rate schedule. `tlkit.plans.schedule` computes the factors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkit.recipe.table import Table


class ScheduleTable(Table):
    """The keys that every schedule has."""

    epochs: int = Field(default=10, ge=1, description="number of passes over the training images")


class Warmed(ScheduleTable):
    """A schedule that can begin with a linear warm-up."""

    warmup_epochs: float = Field(
        default=0.0, ge=0, description="epochs in which the rate rises linearly from near 0 to its peak; 0.5 is half an epoch"
    )


class Constant(Warmed):
    """A constant rate: the peak rate in every step."""

    name: Literal["constant"]


class Step(Warmed):
    """A rate that is multiplied by gamma every few epochs, or after the epochs of a list."""

    name: Literal["step"]
    every: int | None = Field(default=None, ge=1, description="number of epochs between two drops of the rate")
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list, description="epochs after which the rate drops, for instance [30, 60]"
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor by which the rate is multiplied at each drop")

    @model_validator(mode="after")
    def _one_way(self) -> Step:
        if (self.every is None) == (not self.milestones):
            raise ValueError("give either every or milestones, in epochs")
        return self


class Cosine(Warmed):
    """A rate that falls along half a cosine, from its peak to `final` times its peak."""

    name: Literal["cosine"]
    final: float = Field(default=0.0, ge=0, lt=1, description="last rate as a fraction of the peak rate")


class OneCycle(ScheduleTable):
    """A rate that rises from peak / start_div to its peak, then falls to peak / start_div / end_div, each along half a cosine."""

    name: Literal["one_cycle"]
    rise: float = Field(default=0.3, gt=0, lt=1, description="fraction of all steps in which the rate rises")
    start_div: float = Field(default=25.0, gt=1, description="the first rate is the peak rate divided by this")
    end_div: float = Field(default=1e4, gt=1, description="the last rate is the first rate divided by this")


Schedule = Constant | Step | Cosine | OneCycle
