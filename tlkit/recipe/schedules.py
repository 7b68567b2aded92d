"""The table [schedule]: one class for each learning-rate schedule. `tlkit.plans.schedule` computes the factors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkit.recipe.table import Table


class ScheduleTable(Table):
    """What every schedule has."""

    epochs: int = Field(default=10, ge=1)


class Warmed(ScheduleTable):
    """A schedule that may begin with a linear warm-up."""

    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs of linear rise from near 0 to the peak rate")


class Constant(Warmed):
    """The peak rate throughout."""

    name: Literal["constant"]


class Step(Warmed):
    """The rate times gamma every so many epochs, or at given epochs."""

    name: Literal["step"]
    every: int | None = Field(default=None, ge=1, description="epochs between two drops")
    milestones: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list, description="epochs after which the rate drops")
    gamma: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _one_way(self) -> Step:
        if (self.every is None) == (not self.milestones):
            raise ValueError("give either every or milestones, in epochs")
        return self


class Cosine(Warmed):
    """Half a cosine from the peak rate down to `final` times the peak."""

    name: Literal["cosine"]
    final: float = Field(default=0.0, ge=0, lt=1, description="last rate as a part of the peak")


class OneCycle(ScheduleTable):
    """Half a cosine up from peak / start_div, half a cosine down to peak / start_div / end_div."""

    name: Literal["one_cycle"]
    rise: float = Field(default=0.3, gt=0, lt=1, description="part of the run that the rise takes")
    start_div: float = Field(default=25.0, gt=1)
    end_div: float = Field(default=1e4, gt=1)
