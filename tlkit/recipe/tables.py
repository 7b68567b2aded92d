"""The tables [backbone], [head], [data] and [early_stopping].

The optimizer, the schedule, the loss, other domains and the maps [freeze] and [lr_groups] have modules of their own. This module knows no plugin
and does not import torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from tlkit.recipe.augmentations import Augmentations, Views
from tlkit.recipe.messages import no_such_choice, problem, shown
from tlkit.recipe.table import Table, chosen_by
from tlkit.recipe.unlabelled import UnlabelledTable

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # recipe and arm names become folder names
LONGEST = 80  # characters of such a name; the folder's own name adds seed and digest to it
NAMING = "letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder"


def _say_name(value: object, check: ValidatorFunctionWrapHandler) -> str:
    try:
        return str(check(value))
    except ValidationError:
        if isinstance(value, str):
            raise problem(f"is {shown(value)}.", f"{NAMING}; at most {LONGEST} characters") from None
        raise


def name_of(text: str, otherwise: str) -> str:
    """Return the name for a recipe that is most like a text, such as a file's name; `otherwise` where it has no such character."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("-._")
    return kept[:LONGEST] or otherwise


FolderName = Annotated[str, Field(pattern=NAME, max_length=LONGEST), WrapValidator(_say_name)]
MOST_CHANNELS = 1024
Means = Annotated[list[float], Field(min_length=1, max_length=MOST_CHANNELS)]
Deviations = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=MOST_CHANNELS)]


class InputTable(Table):
    """Preprocessing of pixels, for each channel: (pixel * range / 255 - mean) / std.

    A key that is not given has the value that the weights were trained with. With `data.channels`, `mean` and `std` have a number for
    each band, in the units of the files, and `channels` and `range` are not given.
    """

    channels: Literal["rgb", "bgr"] | None = Field(default=None, description="order of the colour channels")
    range: float | None = Field(
        default=None, gt=0, description="value of the brightest pixel before mean and std are applied: 1 or 255, for instance"
    )
    mean: Means | None = Field(
        default=None, description="mean of each channel, in the order of `channels` and the unit of `range`"
    )
    std: Deviations | None = Field(
        default=None, description="standard deviation of each channel, in the order of `channels` and the unit of `range`"
    )
    resize: Literal["nearest", "bilinear", "bicubic"] | None = Field(
        default=None, description="interpolation filter that resizes pictures"
    )


_INPUTS: tuple[Literal["torch"], Literal["caffe"]] = ("torch", "caffe")


def _input(value: object) -> Literal["torch", "caffe"] | InputTable:
    if isinstance(value, dict | InputTable):
        return InputTable.model_validate(value)
    for known in _INPUTS:
        if value == known:
            return known
    what, *hints = no_such_choice(value, _INPUTS, "")
    raise problem(what, *hints, f"or a table: {', '.join(InputTable.model_fields)}")


InputValue = Annotated[
    Literal["torch", "caffe"] | InputTable,
    chosen_by(_input),
]


class BackboneTable(Table):
    """The network, and the weights that it starts with."""

    name: str = Field(min_length=1, description="name of a backbone, as `tlkit list --kind backbone` shows it")
    weights: str = Field(
        description='"imagenet", another name that `tlkit show BACKBONE` lists, "none" for random weights, a file, '
        '"FILE#KEY" for what a checkpoint holds under a key, or "run:PATH" (an earlier run)'
    )
    input: InputValue | None = Field(
        default=None,
        description='preprocessing of pixels, where it differs from what the weights were trained with: "torch", "caffe" or a table',
    )
    batch_norm: Literal["batch", "local", "sync", "running"] = Field(
        default="batch",
        description='"running": BatchNorm normalizes by its running statistics in training too, and keeps them, as Keras\'s '
        '`training=False` does; its scale and shift train with their stage. "batch": where a stage trains, by each batch; where several '
        'processes share a batch, "sync" is over all of it, "local" over the part of each process, and "batch" is one of them',
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
    start: Literal["random", "solved"] = Field(
        default="random",
        description='what a trained head begins with: "random" weights, or "solved": those of a logistic regression on the features '
        "of the training images, by the weights that the network begins with",
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
        # The JSON of a plan names every key, so a key that has its default is no contradiction.
        if any(
            getattr(self, key) != type(self).model_fields[key].default for key in ("train", "train_per_class", "validation")
        ):
            raise ValueError("fractions already gives all three sets; leave out train, train_per_class and validation")
        if self.fractions[0] == 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions are {self.fractions}; they must add up to 1, and the first must be above 0")
        return self


_Count = Annotated[int, Field(ge=1)]
_COUNT: TypeAdapter[int] = TypeAdapter(_Count, config=Table.model_config)


def _batch_size(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if type(value) is int:
        return _COUNT.validate_python(value)
    raise problem(f'is {shown(value)}, but should be a whole number or "auto".')


BatchSize = Annotated[_Count | Literal["auto"], chosen_by(_batch_size)]
_Side = Annotated[int, Field(ge=8, le=2048)]
_Pair = Annotated[list[_Side], Field(min_length=2, max_length=2)]
_SIDE: TypeAdapter[int] = TypeAdapter(_Side, config=Table.model_config)
_PAIR: TypeAdapter[list[int]] = TypeAdapter(_Pair, config=Table.model_config)


def _image_size(value: object) -> int | list[int]:
    """Return one number for two equal ones, so that `224` and `[224, 224]` have the same digest."""
    if isinstance(value, list) and len(value) == 2:
        height, width = _PAIR.validate_python(value)
        return height if height == width else [height, width]
    if type(value) is int:
        return _SIDE.validate_python(value)
    raise problem(f"is {shown(value)}, but should be a whole number or [height, width].", "224, or [224, 320], in pixels")


ImageSize = Annotated[_Side | _Pair, chosen_by(_image_size)]
# 200 million: the largest sensors of phones have 16,320 x 12,240 pixels. Decoding such an image as RGB takes 600 MB.
MAX_PIXELS = 200_000_000


class SizeForEpochs(Table):
    """Size of the training images for some epochs, after which the next one begins."""

    epochs: int = Field(ge=1, description="number of epochs; those of all sizes add up to schedule.epochs")
    size: ImageSize = Field(description="size of the network's input in pixels: a number for a square, or [height, width]")


class FieldOfView(Table):
    """Scale every picture until the bright disc of its field of view has a diameter."""

    field_of_view: int = Field(ge=8, le=65536, description="diameter in pixels")


Factor = Annotated[float, Field(gt=0, le=64)]
_FACTOR: TypeAdapter[float] = TypeAdapter(Factor, config=Table.model_config)


def _scale(value: object) -> float | FieldOfView:
    if isinstance(value, dict | FieldOfView):
        return FieldOfView.model_validate(value)
    if type(value) in (int, float):
        return _FACTOR.validate_python(value)
    raise problem(f"is {shown(value)}, but should be a factor or a table.", "0.5, or { field_of_view = 540 }")


ScaleTo = Annotated[Factor | FieldOfView, chosen_by(_scale)]


class DataTable(Table):
    """The data set, the size and augmentation of its images, and its split."""

    name: str = Field(min_length=1, description="name of a data set, as `tlkit list --kind dataset` shows it")
    image_size: ImageSize | None = Field(
        default=None,
        description="size of the network's input in pixels: a number for a square, or [height, width]. Default: the backbone's own",
    )
    image_sizes: list[SizeForEpochs] | None = Field(
        default=None,
        min_length=1,
        description="in the place of image_size: sizes of the training images, one after the other, for instance "
        "[{ epochs = 5, size = 128 }, { epochs = 5, size = 224 }]. Held-out images always have the last size",
    )
    crop_size: ImageSize | None = Field(
        default=None,
        description="heads of masks or boxes: size of the random crops of pictures that are trained on, in pixels. Default: whole pictures. "
        "Evaluation takes whole pictures, or those in tiles",
    )
    tile_size: int | None = Field(
        default=None,
        ge=32,
        description="heads of masks: evaluation and `predict` take larger pictures in tiles of this side, in pixels, which overlap by a "
        "quarter, where memory does not allow whole ones. Default: whole pictures",
    )
    scale_to: ScaleTo | None = Field(
        default=None,
        description="heads of masks or boxes: factor by which every picture is scaled, 0.5 for instance; of masks also { field_of_view = 540 }, "
        "the diameter in pixels that the field of view of a picture gets. Default: as the files are",
    )
    ignore: int = Field(
        default=255, ge=0, le=65535, description="heads of masks: value in the mask files of pixels that count for nothing"
    )
    channels: int | None = Field(
        default=None,
        ge=1,
        le=MOST_CHANNELS,
        description="number of bands of each image, for images of bands: .npy and TIFF files of uint8, uint16 or float32, whose values "
        "are taken as they are. Default: colour pictures",
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
    on_overlap: Literal["warn", "error", "drop"] = Field(
        default="warn",
        description="warn: say how many evaluated images are identical to training or validation images; error: stop at them; "
        "drop: leave such training images out, also those that are held out for validation",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this data set, as `tlkit show NAME` lists them"
    )
    split: SplitTable = Field(default_factory=SplitTable)
    unlabelled: UnlabelledTable | None = None

    @model_validator(mode="after")
    def _one_size(self) -> DataTable:
        if self.image_size is not None and self.image_sizes is not None:
            raise ValueError("image_size and image_sizes are both given; give one")
        return self


class EarlyStopping(Table):
    """Stop training when the validation accuracy has not improved; equal accuracies are compared by loss."""

    patience: int = Field(
        ge=1,
        description="number of epochs without improvement after which training stops. Where parts are frozen for some epochs, "
        "the epochs after the last of these count",
    )
