"""The recipe: what a person wrote, as typed tables, one complete `Arm` per arm.

The rule: a recipe says what is learned, never where it runs. Nothing here knows a plugin or imports torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from tlkit.augmentations import Augmentations, Views

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # recipe and arm names become folder names
LONGEST = 80  # characters of such a name; the folder's own name adds seed and digest to it
FORMAT: Final = 1
LARGEST = 1e38  # of a learning rate or weight decay: float32, which they become, ends at 3.4e38


class Table(BaseModel):
    """A table of the recipe: unknown keys, NaN and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class BackboneTable(Table):
    """Which network, and what it starts from."""

    name: str = Field(min_length=1, description="a backbone that `tlkit list` shows")
    weights: str = Field(description='a name the plugin offers, "none", a file, or "run:PATH" (an earlier run)')
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")


class HeadTable(Table):
    """What stands on the backbone's pooled output."""

    kind: str = Field(default="linear", description="a head that `tlkit list` shows")
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")


class SplitTable(Table):
    """Which of the training images are trained on; every choice is class-balanced and seeded."""

    train: int | None = Field(default=None, ge=1, description="training images in all, as even over the classes as can be")
    train_per_class: int | None = Field(default=None, ge=1, description="training images of each class")
    validation: float = Field(
        default=0.1, ge=0, lt=1, description="part of the training images held out, taken from those not trained on"
    )

    @model_validator(mode="after")
    def _one_count(self) -> SplitTable:
        if self.train is not None and self.train_per_class is not None:
            raise ValueError("train and train_per_class are both given; give one")
        return self


BatchSize = Annotated[
    Annotated[int, Field(ge=1), Tag("=count")] | Annotated[Literal["auto"], Tag("=auto")],
    Discriminator(lambda value: "=auto" if isinstance(value, str) else "=count"),
]


class DataTable(Table):
    """Which images, and how they reach the network."""

    name: str = Field(min_length=1, description="a data set that `tlkit list` shows")
    image_size: int | None = Field(default=None, ge=8, le=2048, description="pixels; the backbone's usual size where not given")
    batch_size: BatchSize = Field(default=32, description='images per step, or "auto"')
    augment: Augmentations = Field(default_factory=list, description="applied to training images, in this order")
    augment_views: Views = Field(
        default=None, description="fixed augmented views of each image; epoch e uses view e mod this, and they can be stored"
    )
    crop: float | None = Field(
        default=None,
        ge=0.1,
        le=1,
        description="part of the short side that the centre crop keeps; the weights' own where not given",
    )
    on_corrupt: Literal["error", "skip"] = Field(default="error", description="what happens to an image that cannot be decoded")
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")
    split: SplitTable = Field(default_factory=SplitTable)


class Until(Table):
    """Frozen for the first epochs, trained after that."""

    epochs: int = Field(ge=1, description="epochs for which it stays frozen")


class Rate(Table):
    """A group's peak learning rate and its own optimizer settings."""

    lr: float = Field(gt=0, le=LARGEST, description="peak learning rate")
    weight_decay: float | None = Field(default=None, ge=0, le=LARGEST, description="the optimizer's where not given")
    momentum: float | None = Field(default=None, ge=0, lt=1, description="sgd only; the optimizer's where not given")


def _table_or(scalar: str) -> Discriminator:
    return Discriminator(lambda value: "=table" if isinstance(value, (dict, BaseModel)) else scalar)


FreezeValue = Annotated[Annotated[bool, Tag("=bool")] | Annotated[Until, Tag("=table")], _table_or("=bool")]
PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]
RateValue = Annotated[Annotated[PositiveRate, Tag("=rate")] | Annotated[Rate, Tag("=table")], _table_or("=rate")]


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


class LossTable(Table):
    """Cross-entropy."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class EarlyStopping(Table):
    """Stop when no epoch beat the best one (validation accuracy, then loss) for so long."""

    patience: int = Field(ge=1, description="epochs")


# The optimizer and the schedule where a recipe names none.
USUAL = {"optimizer": "adamw", "schedule": "one_cycle"}


class Arm(Table):
    """One complete recipe: what one run of it learns."""

    backbone: BackboneTable
    head: HeadTable = Field(default_factory=HeadTable)
    data: DataTable
    freeze: dict[str, FreezeValue] = Field(default_factory=dict, description="key -> true, false or { epochs = N }")
    lr_groups: dict[str, RateValue] = Field(default_factory=dict, description="key -> peak learning rate, or a table")
    optimizer: Annotated[Sgd | Adam | AdamW, Field(discriminator="name")] = Field(
        default_factory=lambda: AdamW(name="adamw"), description="adamw where not given"
    )
    schedule: Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="name")] = Field(
        default_factory=lambda: OneCycle(name="one_cycle"), description="one_cycle where not given"
    )
    loss: LossTable = Field(default_factory=LossTable)
    early_stopping: EarlyStopping | None = None
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of convolutions and products; auto takes what is measured fastest here"
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_kind(cls, tables: object) -> object:
        """Name the optimizer and the schedule where their tables do not."""
        if not isinstance(tables, dict):
            return tables
        usual = {key: tables[key] for key in USUAL if isinstance(tables.get(key), dict)}
        return tables | {key: {"name": USUAL[key], **table} for key, table in usual.items()}


class Header(Table):
    """What belongs to the recipe as a whole."""

    format: Literal[1] = Field(description="of this file")
    name: str = Field(pattern=NAME, max_length=LONGEST, description="names the run folder")
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default_factory=lambda: [0], min_length=1)

    @field_validator("format", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        """Refuse other formats, and true and 1.0, which Python takes for 1."""
        if type(value) is not int or value != FORMAT:
            raise ValueError(f"is {value!r}; this version reads recipes of format {FORMAT}")
        return value

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"names one twice: {seeds}")
        return seeds


ArmName = Annotated[str, Field(pattern=NAME, max_length=80)]


class Recipe(Header):
    """A recipe with every arm complete."""

    arms: dict[Annotated[str, Field(pattern=NAME, max_length=LONGEST)], Arm]


# A recipe without arms has this one.
ONLY_ARM = "main"
# A plugin's name that is not known yet: stands in for a missing one while more problems are looked for.
UNKNOWN = ""
# These tables are replaced by an arm that names them; all others merge key by key.
MAPS = ("freeze", "lr_groups")


def arm_toml(arm: Arm) -> dict[str, Any]:
    """Return the arm with its defaults written out, as TOML can hold it (what is None is absent)."""
    return arm.model_dump(mode="json", exclude_none=True)
