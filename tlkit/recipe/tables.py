"""The recipe: what a person wrote, as typed tables, one complete `Arm` per arm.

The rule: a recipe says what is learned, never where it runs. Nothing here knows a plugin or imports torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, field_validator, model_validator

from tlkit.recipe.augmentations import Augmentations, Views
from tlkit.recipe.table import LARGEST, Table
from tlkit.recipe.training import Adam, AdamW, Constant, Cosine, EarlyStopping, LossTable, OneCycle, PositiveRate, Sgd, Step

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # recipe and arm names become folder names
LONGEST = 80  # characters of such a name; the folder's own name adds seed and digest to it
FORMAT: Final = 1


def _table_or(scalar: str) -> Discriminator:
    return Discriminator(lambda value: "=table" if isinstance(value, (dict, BaseModel)) else scalar)


Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class InputTable(Table):
    """How pixels are handed to the network: (pixel * range / 255 - mean) / std, channel by channel.

    What is not given is as the weights have it.
    """

    channels: Literal["rgb", "bgr"] | None = Field(default=None, description="their order")
    range: float | None = Field(default=None, gt=0, description="what the brightest pixel is before mean and std")
    mean: Three | None = Field(default=None, description="of each channel, in that order and range")
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="likewise"
    )
    resize: Literal["nearest", "bilinear", "bicubic"] | None = Field(default=None, description="filter of the resize")


InputValue = Annotated[
    Annotated[Literal["torch", "caffe"], Tag("=name")] | Annotated[InputTable, Tag("=table")], _table_or("=name")
]


class BackboneTable(Table):
    """Which network, and what it starts from."""

    name: str = Field(min_length=1, description="a backbone that `tlkit list` shows")
    weights: str = Field(description='a name the plugin offers, "none", a file, or "run:PATH" (an earlier run)')
    input: InputValue | None = Field(
        default=None, description="how pixels reach the network, where the weights do not say it or say something else"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")


class HeadTable(Table):
    """What stands on the backbone."""

    kind: str = Field(default="linear", description="a head that `tlkit list` shows")
    embed: str | None = Field(
        default=None, description="the stage whose output it reads; those behind it are left out. The last where not given"
    )
    pooled: bool = Field(default=True, description="it reads the mean over the picture of that output, not every value of it")
    positive: str | None = Field(
        default=None, description="of a binary head, the class that is 1; the last one where not given"
    )
    aux_weight: float | None = Field(
        default=None,
        ge=0,
        description="of the auxiliary classifiers' losses beside the main one; the backbone's own where not given",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")


Fraction = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[list[Fraction], Field(min_length=3, max_length=3)]


class SplitTable(Table):
    """Which images are trained on; every choice is class-balanced and seeded, and images of one group stay on one side."""

    train: int | None = Field(default=None, ge=1, description="training images in all, as even over the classes as can be")
    train_per_class: int | None = Field(default=None, ge=1, description="training images of each class")
    validation: float = Field(
        default=0.1, ge=0, lt=1, description="part of the training images held out, taken from those not trained on"
    )
    fractions: Fractions | None = Field(
        default=None, description="train, validation and test as parts of all images, whatever split the data set has"
    )

    @model_validator(mode="after")
    def _one_count(self) -> SplitTable:
        if self.train is not None and self.train_per_class is not None:
            raise ValueError("train and train_per_class are both given; give one")
        if self.fractions is None:
            return self
        if {"train", "train_per_class", "validation"} & self.model_fields_set:
            raise ValueError("fractions says it all; leave train, train_per_class and validation out")
        if self.fractions[0] == 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions are {self.fractions}; they add up to 1, and the first is more than 0")
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


class AlsoTable(Table):
    """Images that are evaluated too, and never trained on: of another domain, for instance."""

    name: str = Field(min_length=1, description="a data set that `tlkit list` shows; its test images are evaluated")
    options: dict[str, Any] = Field(default_factory=dict, description="the plugin's own")


class Until(Table):
    """Frozen for the first epochs, trained after that."""

    epochs: int = Field(ge=1, description="epochs for which it stays frozen")


class Rate(Table):
    """A group's peak learning rate and its own optimizer settings."""

    lr: float = Field(gt=0, le=LARGEST, description="peak learning rate")
    weight_decay: float | None = Field(default=None, ge=0, le=LARGEST, description="the optimizer's where not given")
    momentum: float | None = Field(default=None, ge=0, lt=1, description="sgd only; the optimizer's where not given")


FreezeValue = Annotated[Annotated[bool, Tag("=bool")] | Annotated[Until, Tag("=table")], _table_or("=bool")]
RateValue = Annotated[Annotated[PositiveRate, Tag("=rate")] | Annotated[Rate, Tag("=table")], _table_or("=rate")]


USUAL = {"optimizer": "adamw", "schedule": "one_cycle"}


class Arm(Table):
    """One complete recipe: what one run of it learns."""

    backbone: BackboneTable
    head: HeadTable = Field(default_factory=HeadTable)
    data: DataTable
    also: dict[Annotated[str, Field(pattern=NAME, max_length=LONGEST)], AlsoTable] = Field(
        default_factory=dict, description="a name -> a data set of the same classes, evaluated after every epoch"
    )
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
    tables = arm.model_dump(mode="json", exclude_none=True)
    split = tables["data"]["split"]
    if "fractions" in split:
        del split["validation"]  # says nothing beside them, and is refused
    return tables
