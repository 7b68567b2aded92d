"""The augmentations of `data.augment`: one class for each. This module does not import torch.

The rule: `"hflip"` and `{ name = "hflip" }` mean the same table with its defaults, and have the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo, model_validator

from tlkit.recipe.messages import no_list, problem, shown
from tlkit.recipe.table import Table, by_name, names


def _ascend(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"is {list(pair)}; the smaller comes first")
    return pair


_Part = Annotated[float, Field(gt=0, le=1)]
_Ratio = Annotated[float, Field(ge=0.01, le=100)]
Parts = Annotated[tuple[_Part, _Part], Field(strict=False), AfterValidator(_ascend)]
Ratios = Annotated[tuple[_Ratio, _Ratio], Field(strict=False), AfterValidator(_ascend)]
Chance = Annotated[float, Field(ge=0, le=1)]


class RandomCrop(Table):
    """Crop a random window of the input's size from a picture that is 256/224 as large, or as large as `data.crop` says.

    With `padding` the picture has the input's size, as in evaluation, and so many pixels of the mean colour are added at each side before.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 4.1; with padding He et al. 2016, arXiv:1512.03385, section 4.2, where it is 4.
    """

    name: Literal["random_crop"]
    padding: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="pixels of the mean colour that are added at each side of a picture of the input's size, for instance 4 at 32 pixels. "
        "Default: none, the window is cropped from a larger picture",
    )


class RandomResizedCrop(Table):
    """Crop a window of random area and shape from the whole picture, and resize it to the input's size.

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 6; defaults of torchvision.transforms.RandomResizedCrop.
    """

    name: Literal["random_resized_crop"]
    scale: Parts = Field(
        default=(0.08, 1.0), description="smallest and largest area of the window, as a fraction of the picture's area"
    )
    ratio: Ratios = Field(default=(3 / 4, 4 / 3), description="smallest and largest width / height of the window")


class HFlip(Table):
    """Flip the picture horizontally.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 4.1.
    """

    name: Literal["hflip"]
    p: Chance = Field(default=0.5, description="probability that an image is flipped")


class VFlip(Table):
    """Flip the picture vertically, for pictures that have no upper side: from microscopes or satellites.

    Source: torchvision.transforms.RandomVerticalFlip, with its p.
    """

    name: Literal["vflip"]
    p: Chance = Field(default=0.5, description="probability that an image is flipped")


class Rotate(Table):
    """Rotate the picture about its centre, by a random angle up to `degrees`, or by whole `steps`.

    A rotation by degrees leaves empty corners; they get the mean colour of the weights. A rotation by steps changes no pixel's
    value; the 4 or 2 possible rotations, 0 degrees among them, are equally likely.

    Source: Ciresan, Meier, Gambardella & Schmidhuber 2010, arXiv:1003.0358, with 15 degrees for all digits but 1 and 7; drawn as
    torchvision.transforms.RandomRotation draws.
    """

    name: Literal["rotate"]
    degrees: float = Field(default=15.0, gt=0, le=180, description="largest angle in degrees, to either side")
    steps: Literal[90, 180] | None = Field(
        default=None, description="rotate by multiples of 90 or 180 degrees instead of by a random angle"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Rotate:
        if self.steps is not None and self.degrees != type(self).model_fields["degrees"].default:
            raise ValueError("degrees and steps are both given; give one")
        return self


class Elastic(Table):
    """Move the pixels of the picture by random amounts that change smoothly over it.

    The points of a coarse grid over the picture are moved by random amounts, normally distributed, and what is between them bicubically. What
    comes from outside of the picture has the mean colour of the weights.

    Source: Ronneberger, Fischer & Brox 2015, arXiv:1505.04597, section 3.1, with its 3 x 3 points and 10 pixels.
    """

    name: Literal["elastic"]
    pixels: float = Field(
        default=10.0, gt=0, le=1000, description="standard deviation of the shifts in pixels, down and across"
    )
    points: int = Field(default=3, ge=2, le=16, description="points of the grid on each side; more make finer waves")


class ColorJitter(Table):
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    Source: Howard 2013, arXiv:1312.5402, for the first three. Amounts as in the code of MoCo v2, Chen et al. 2020,
    arXiv:2003.04297; drawn as torchvision.transforms.ColorJitter draws.
    """

    name: Literal["color_jitter"]
    brightness: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.4, description="b: brightness is multiplied by a factor from 1 - b to 1 + b"
    )
    contrast: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.4, description="c: contrast is multiplied by a factor from 1 - c to 1 + c"
    )
    saturation: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.4, description="s: saturation is multiplied by a factor from 1 - s to 1 + s"
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.1, description="h: hue is shifted by -h to h, where 1 is the whole colour circle"
    )


class RandomErasing(Table):
    """Fill a window of random area and shape with noise.

    Source: Zhong et al. 2017, arXiv:1708.04896, algorithm 1, filled as its RE-R; scale and ratio of
    torchvision.transforms.RandomErasing; p of DeiT, Touvron et al. 2020, arXiv:2012.12877, table 9.
    """

    name: Literal["random_erasing"]
    p: Chance = Field(default=0.25, description="probability that a window of an image is erased")
    scale: Parts = Field(
        default=(0.02, 0.33), description="smallest and largest area of the window, as a fraction of the picture's area"
    )
    ratio: Ratios = Field(default=(0.3, 3.3), description="smallest and largest width / height of the window")


class Mixup(Table):
    """Blend each image and its label with another image and its label.

    Source: Zhang et al. 2017, arXiv:1710.09412, section 2; it has alpha 0.1 to 0.4 for ImageNet (section 3.1), torchvision's
    reference training 0.2.
    """

    name: Literal["mixup"]
    alpha: float = Field(
        default=0.2, gt=0, le=100, description="the share of the image itself is drawn from Beta(alpha, alpha)"
    )


class Cutmix(Table):
    """Replace a window of each image with that of another image, and mix the labels by area.

    Source: Yun et al. 2019, arXiv:1905.04899, section 3.1, where alpha is 1.
    """

    name: Literal["cutmix"]
    alpha: float = Field(
        default=1.0, gt=0, le=100, description="the share of the image itself is drawn from Beta(alpha, alpha)"
    )


class RandAugment(Table):
    """Apply operations that are drawn for each image from a list of 14, all with the same strength.

    Source: Cubuk et al. 2019, arXiv:1909.13719, section 3, with N = 2 and M = 9 as there for ResNet-50; operations and
    strengths are those of torchvision.transforms.RandAugment with 31 bins.
    """

    name: Literal["randaugment"]
    ops: int = Field(default=2, ge=1, le=14, description="number of operations applied to each image")
    magnitude: int = Field(default=9, ge=0, le=30, description="strength of every operation, 0 to 30")


Augmentation = (
    RandomCrop
    | RandomResizedCrop
    | HFlip
    | VFlip
    | Rotate
    | Elastic
    | ColorJitter
    | RandomErasing
    | Mixup
    | Cutmix
    | RandAugment
)
NAMES = tuple(names(Augmentation))


# What turns or shears a picture, and so must know its true shape: a picture that windows are taken from is stored squashed.
_TURNING = ("rotate", "elastic", "randaugment")
_OF_COLOUR = ("color_jitter", "randaugment")


def needs_room(tables: Iterable[Augmentation]) -> bool:
    """Return whether pictures must be larger than the network's input, because a window of its size is cropped from them."""
    return any(isinstance(table, RandomCrop) and table.padding is None for table in tables)


def windows(tables: Iterable[Augmentation]) -> RandomResizedCrop | None:
    """Return the augmentation that takes windows of random size from whole pictures; None where there is none."""
    return next((table for table in tables if isinstance(table, RandomResizedCrop)), None)


def crops(tables: Iterable[Augmentation]) -> bool:
    """Return whether one of the augmentations takes a part of each picture."""
    return any(isinstance(table, RandomCrop | RandomResizedCrop) for table in tables)


def mixes(tables: Iterable[Augmentation]) -> bool:
    """Return whether one of the augmentations mixes an image with another one."""
    return any(isinstance(table, Mixup | Cutmix) for table in tables)


def of_colour(tables: Iterable[Augmentation]) -> list[str]:
    """Return the names of those that mean something for red, green and blue alone."""
    return [table.name for table in tables if table.name in _OF_COLOUR]


def not_of_colour() -> tuple[str, ...]:
    """Return the names of all that can be applied to any number of bands."""
    return tuple(name for name in NAMES if name not in _OF_COLOUR)


def read(items: Sequence[str | dict[str, Any]]) -> list[Augmentation]:
    """Return the typed tables of a list of names and tables, as `data.augment` holds it.

    Raises:
        pydantic.ValidationError: as the recipe would be refused.
    """
    return _LIST.validate_python(list(items))


def _table(item: object) -> object:
    """Return a name as a table that has only this name; return a table as it is."""
    if isinstance(item, str):
        return {"name": item}
    if not isinstance(item, dict | Table):
        raise problem(f"is {shown(item)}, but should be a name, or a table with a name.", _LISTED)
    return item


def _list(value: object) -> object:
    """Refuse what is no list with an example of a list, which has the nearest augmentation."""
    if isinstance(value, list):
        return value
    near = get_close_matches(value, NAMES, cutoff=0.5) if isinstance(value, str) else []
    what, *hints = no_list("augment", value, near[0] if near else value, "augmentations are applied in this order")
    raise problem(what, *hints, _LISTED)


def _go_together(tables: list[Augmentation]) -> list[Augmentation]:
    names = [table.name for table in tables]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"has {doubled} twice; give it once")
    if "random_crop" in names and "random_resized_crop" in names:
        raise ValueError("has random_crop and random_resized_crop, but an image is cropped once; give one of them")
    turning = [name for name in names[: names.index("random_resized_crop")] if name in _TURNING] if windows(tables) else []
    if turning:
        raise ValueError(
            f"has {turning[0]} before random_resized_crop; give random_resized_crop first: its windows are taken from the whole picture"
        )
    return tables


def _of_whole_pictures(tables: list[Augmentation]) -> list[Augmentation]:
    for table in tables:
        if mixes([table]):
            raise ValueError(f"has {table.name}, which mixes images, and both views are of one image; leave it out")
        if isinstance(table, RandomCrop | RandomResizedCrop):
            raise ValueError(f"has {table.name}, and both views are cropped alike; give it in data.augment")
    return tables


def twice(first: Iterable[Augmentation], second: Iterable[Augmentation]) -> str | None:
    """Return the name of an augmentation that is in both lists; None where none is."""
    names = {table.name for table in first}
    return next((table.name for table in second if table.name in names), None)


def _can_be_fixed(views: int | None, info: ValidationInfo) -> int | None:
    tables: Sequence[Augmentation] | None = info.data.get("augment")  # None where it was refused
    if views is None or tables is None:
        return views
    if not tables:
        raise ValueError(f"is {views}, but there is no augmentation: add some to data.augment, or leave this out")
    mixing = next((table.name for table in tables if mixes([table])), None)
    if mixing is not None:
        raise ValueError(f"is {views}, but {mixing} mixes images, so views cannot be fixed; leave out one of the two")
    return views


_LISTED = f"augmentations: {', '.join(NAMES)}"
_Table = Annotated[Augmentation, Field(discriminator="name")]
_Item = Annotated[
    _Table,
    by_name("augmentation", Augmentation),
    BeforeValidator(_table, json_schema_input_type=Literal[NAMES] | _Table),
]
# The types of data.augment, of a second view of images without labels, and of data.augment_views, which stands after data.augment.
Augmentations = Annotated[list[_Item], BeforeValidator(_list), AfterValidator(_go_together)]
SecondView = Annotated[Augmentations, AfterValidator(_of_whole_pictures)]
Views = Annotated[Annotated[int, Field(ge=1)] | None, AfterValidator(_can_be_fixed)]
_LIST: TypeAdapter[list[Augmentation]] = TypeAdapter(Augmentations)
