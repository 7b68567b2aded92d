"""How a network learns, as typed tables: optimizer, schedule, loss, and when to stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tlkit.recipe.table import LARGEST, Table

# How an arm learns: step by step, by fitting its head once on embeddings, or not at all.
Learns = Literal["steps", "solved", "nothing"]
PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]


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


class EarlyStopping(Table):
    """Stop when no epoch beat the best one (validation accuracy, then loss) for so long."""

    patience: int = Field(ge=1, description="epochs")


# The optimizer and the schedule where a recipe names none.
