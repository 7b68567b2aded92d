"""The tables [backbone], [head], [data], [also], [early_stopping], and the values of [freeze] and [lr_groups].

The optimizer, the schedule and the loss have modules of their own. This module knows no plugin and does not import torch.
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
    """Preprocessing of pixels, for each channel: (pixel * range / 255 - mean) / std.

    A key that is not given has the value that the weights were trained with.
    """

    channels: Literal["rgb", "bgr"] | None = Field(default=None, description="order of the colour channels")
    range: float | None = Field(
        default=None, gt=0, description="value of the brightest pixel before mean and std are applied: 1 or 255, for instance"
    )
    mean: Three | None = Field(
        default=None, description="mean of each channel, in the order of `channels` and the unit of `range`"
    )
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="standard deviation of each channel, in the order of `channels` and the unit of `range`"
    )
    resize: Literal["nearest", "bilinear", "bicubic"] | None = Field(
        default=None, description="interpolation filter that resizes pictures"
    )


InputValue = Annotated[
    Annotated[Literal["torch", "caffe"], Tag("=name")] | Annotated[InputTable, Tag("=table")], _table_or("=name")
]


class BackboneTable(Table):
    """The network, and the weights that it starts with."""

    name: str = Field(min_length=1, description="name of a backbone, as `tlkit list --kind backbone` shows it")
    weights: str = Field(
        description='"imagenet", another name that `tlkit show BACKBONE` lists, "none" for random weights, a file, or "run:PATH" (an earlier run)'
    )
    input: InputValue | None = Field(
        default=None,
        description='preprocessing of pixels, where it differs from what the weights were trained with: "torch", "caffe" or a table',
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this backbone, as `tlkit show NAME` lists them"
    )


class HeadTable(Table):
    """The head: the layers, or the classifier, behind the backbone."""

    kind: str = Field(default="linear", description="kind of head, as `tlkit list --kind head` shows it")
    embed: str | None = Field(
        default=None,
        description="stage whose output the head reads; later stages are left out of the network. Default: the last stage",
    )
    pooled: bool = Field(
        default=True,
        description="true: the head reads the average over all positions of the feature map; false: it reads every value",
    )
    positive: str | None = Field(
        default=None, description="binary head: the class that counts as positive. Default: the last class"
    )
    aux_weight: float | None = Field(
        default=None,
        ge=0,
        description="weight of the auxiliary classifiers' losses; the main loss has weight 1. Default: the backbone's own",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of this head, as `tlkit show NAME` lists them")


Fraction = Annotated[float, Field(ge=0, le=1)]


Fractions = Annotated[list[Fraction], Field(min_length=3, max_length=3)]


class SplitTable(Table):
    """How images are split into training, validation and test sets.

    Every split is stratified by class and depends on the seed. Images of one group all go into the same set.
    """

    train: int | None = Field(
        default=None, ge=1, description="number of training images in total, the same for every class as far as possible"
    )
    train_per_class: int | None = Field(default=None, ge=1, description="number of training images of each class")
    validation: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="fraction of the training images that is held out as the validation set, and not trained on",
    )
    fractions: Fractions | None = Field(
        default=None,
        description="fractions of all images for training, validation and test, for instance [0.8, 0.1, 0.1]; "
        "replaces the split that the data set comes with",
    )

    @model_validator(mode="after")
    def _one_count(self) -> SplitTable:
        if self.train is not None and self.train_per_class is not None:
            raise ValueError("train and train_per_class are both given; give one")
        if self.fractions is None:
            return self
        if {"train", "train_per_class", "validation"} & self.model_fields_set:
            raise ValueError("fractions already gives all three sets; leave out train, train_per_class and validation")
        if self.fractions[0] == 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions are {self.fractions}; they must add up to 1, and the first must be above 0")
        return self


BatchSize = Annotated[
    Annotated[int, Field(ge=1), Tag("=count")] | Annotated[Literal["auto"], Tag("=auto")],
    Discriminator(lambda value: "=auto" if isinstance(value, str) else "=count"),
]


def _square(value: int | list[int]) -> int | list[int]:
    """Return one number for two equal ones, so that `224` and `[224, 224]` have the same digest."""
    return value[0] if isinstance(value, list) and value[0] == value[1] else value


_Side = Annotated[int, Field(ge=8, le=2048)]
ImageSize = Annotated[
    Annotated[
        Annotated[_Side, Tag("=side")] | Annotated[list[_Side], Field(min_length=2, max_length=2), Tag("=pair")],
        Discriminator(lambda value: "=pair" if isinstance(value, list) else "=side"),
    ],
    AfterValidator(_square),
]
# 200 million: the largest sensors of phones have 16,320 x 12,240 pixels. Decoding such an image as RGB takes 600 MB.
MAX_PIXELS = 200_000_000


class DataTable(Table):
    """The data set, the size and augmentation of its images, and its split."""

    name: str = Field(min_length=1, description="name of a data set, as `tlkit list --kind dataset` shows it")
    image_size: ImageSize | None = Field(
        default=None,
        description="size of the network's input in pixels: a number for a square, or [height, width]. Default: the backbone's own",
    )
    fit: Literal["crop", "pad", "squash"] = Field(
        default="crop",
        description="how a picture of another shape is fitted to image_size: crop cuts out its centre, pad adds borders of the "
        "mean colour, squash resizes it without keeping its shape",
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        description="largest width times height of an image file in pixels; a larger file is treated as one that cannot be decoded",
    )
    batch_size: BatchSize = Field(default=32, description='images per step, or "auto"')
    augment: Augmentations = Field(
        default_factory=list,
        description='augmentations of training images, applied in this order, for instance ["random_crop", "hflip"]',
    )
    augment_views: Views = Field(
        default=None,
        description="number of fixed augmented views of each image, used in turn, one each epoch. What frozen layers compute from "
        "them can be stored. Default: new augmentations in every epoch",
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
        description='fraction of the picture\'s side that the centre crop keeps, with fit = "crop". Default: as the weights were trained',
    )
    on_corrupt: Literal["error", "skip"] = Field(
        default="error", description="error: stop at an image that cannot be decoded; skip: leave it out"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this data set, as `tlkit show NAME` lists them"
    )
    split: SplitTable = Field(default_factory=SplitTable)


class AlsoTable(Table):
    """Another data set that is only evaluated, never trained on: images of another domain, for instance."""

    name: str = Field(
        min_length=1, description="name of a data set, as `tlkit list --kind dataset` shows it; its test images are evaluated"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this data set, as `tlkit show NAME` lists them"
    )


class Until(Table):
    """A part that is frozen for the first epochs and trained after them."""

    epochs: int = Field(ge=1, description="number of epochs for which the part stays frozen")


class Rate(Table):
    """Peak learning rate of a part of the network, and optimizer settings for this part alone."""

    lr: float = Field(gt=0, le=LARGEST, description="peak learning rate")
    weight_decay: float | None = Field(
        default=None, ge=0, le=LARGEST, description="weight decay of this part. Default: optimizer.weight_decay"
    )
    momentum: float | None = Field(
        default=None, ge=0, lt=1, description="momentum of this part, sgd only. Default: optimizer.momentum"
    )


PositiveRate = Annotated[float, Field(gt=0, le=LARGEST)]


FreezeValue = Annotated[Annotated[bool, Tag("=bool")] | Annotated[Until, Tag("=table")], _table_or("=bool")]


RateValue = Annotated[Annotated[PositiveRate, Tag("=rate")] | Annotated[Rate, Tag("=table")], _table_or("=rate")]


class EarlyStopping(Table):
    """Stop training when the validation accuracy has not improved; equal accuracies are compared by loss."""

    patience: int = Field(ge=1, description="number of epochs without improvement after which training stops")
