"""The tables of an arm but the optimizer, the schedule and the loss: backbone, head, data, freeze, lr_groups.

Nothing here knows a plugin or imports torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, model_validator

from tlkit.recipe.augmentations import Augmentations, Views
from tlkit.recipe.table import LARGEST, Table

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # recipe and arm names become folder names


LONGEST = 80  # characters of such a name; the folder's own name adds seed and digest to it


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
    weights: str = Field(
        description='"imagenet", another name that `tlkit show BACKBONE` lists, "none" for random weights, a file, or "run:PATH" (an earlier run)'
    )
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


def _square(value: int | list[int]) -> int | list[int]:
    """Return one number for a pair of equal ones: both are the same recipe, with one digest."""
    return value[0] if isinstance(value, list) and value[0] == value[1] else value


_Side = Annotated[int, Field(ge=8, le=2048)]
ImageSize = Annotated[
    Annotated[
        Annotated[_Side, Tag("=side")] | Annotated[list[_Side], Field(min_length=2, max_length=2), Tag("=pair")],
        Discriminator(lambda value: "=pair" if isinstance(value, list) else "=side"),
    ],
    AfterValidator(_square),
]
# 200 million: what the largest sensors of telephones give, 16,320 x 12,240. As RGB it takes 600 MB while it is decoded.
MAX_PIXELS = 200_000_000


class DataTable(Table):
    """Which images, and how they reach the network."""

    name: str = Field(min_length=1, description="a data set that `tlkit list` shows")
    image_size: ImageSize | None = Field(
        default=None, description="pixels, of a square's side or [height, width]; the backbone's usual size where not given"
    )
    fit: Literal["crop", "pad", "squash"] = Field(
        default="crop",
        description="how a picture of another shape is brought to image_size: its middle cut out, the whole of it padded with "
        "the mean colour, or the whole of it resized whatever its shape",
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        description="width times height above which an image file counts as one that cannot be decoded",
    )
    batch_size: BatchSize = Field(default=32, description='images per step, or "auto"')
    augment: Augmentations = Field(default_factory=list, description="applied to training images, in this order")
    augment_views: Views = Field(
        default=None, description="fixed augmented views of each image; epoch e uses view e mod this, and they can be stored"
    )
    initial_epoch: int = Field(
        default=0,
        ge=0,
        description="epochs that were trained before: the order of the images and their augmentation go on from there",
    )
    crop: float | None = Field(
        default=None,
        ge=0.1,
        le=1,
        description='part of the picture that the centre crop of fit = "crop" keeps; the weights\' own where not given',
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


PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]


FreezeValue = Annotated[Annotated[bool, Tag("=bool")] | Annotated[Until, Tag("=table")], _table_or("=bool")]


RateValue = Annotated[Annotated[PositiveRate, Tag("=rate")] | Annotated[Rate, Tag("=table")], _table_or("=rate")]


class EarlyStopping(Table):
    """Stop when no epoch beat the best one (validation accuracy, then loss) for so long."""

    patience: int = Field(ge=1, description="epochs")
