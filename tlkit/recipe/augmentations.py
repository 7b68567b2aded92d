"""The augmentations that a recipe may name, as typed tables. Nothing here imports torch.

The rule: `"hflip"` and `{ name = "hflip" }` are the same table, with its defaults filled: both have one digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo, model_validator

from tlkit.recipe.table import Table


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
    """A window of the input's size out of a picture 256/224 as large; every place equally likely.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 4.1.
    """

    name: Literal["random_crop"]


class RandomResizedCrop(Table):
    """A window of random area and shape, resized to the input's size.

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 6; defaults of torchvision.transforms.RandomResizedCrop.
    """

    name: Literal["random_resized_crop"]
    scale: Parts = Field(default=(0.08, 1.0), description="smallest and largest area of the window, as a part of the picture's")
    ratio: Ratios = Field(default=(3 / 4, 4 / 3), description="smallest and largest width / height of the window")


class HFlip(Table):
    """Left and right exchanged.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 4.1.
    """

    name: Literal["hflip"]
    p: Chance = Field(default=0.5, description="part of the images that are flipped")


class VFlip(Table):
    """Top and bottom exchanged: for pictures without an up, from microscopes or satellites.

    Source: torchvision.transforms.RandomVerticalFlip, with its p.
    """

    name: Literal["vflip"]
    p: Chance = Field(default=0.5, description="part of the images that are flipped")


class Rotate(Table):
    """A turn about the middle, by up to so many degrees to either side, or by whole steps of a quarter or half turn.

    Degrees leave corners uncovered, which get the mean colour of the weights. Steps move every pixel unchanged; each of the 4
    or 2 turns, none among them, is as likely.

    Source: Ciresan, Meier, Gambardella & Schmidhuber 2010, arXiv:1003.0358, with 15 degrees for all digits but 1 and 7; drawn as
    torchvision.transforms.RandomRotation draws.
    """

    name: Literal["rotate"]
    degrees: float = Field(default=15.0, gt=0, le=180, description="largest angle to either side")
    steps: Literal[90, 180] | None = Field(
        default=None, description="90 or 180: the degrees of a whole step, in place of `degrees`"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Rotate:
        if self.steps is not None and self.degrees != type(self).model_fields["degrees"].default:
            raise ValueError("degrees and steps are both given; give one")
        return self


class ColorJitter(Table):
    """Brightness, contrast, saturation and hue, each by a random amount and in random order.

    Source: Howard 2013, arXiv:1312.5402, for the first three. Amounts as in the code of MoCo v2, Chen et al. 2020,
    arXiv:2003.04297; drawn as torchvision.transforms.ColorJitter draws.
    """

    name: Literal["color_jitter"]
    brightness: Annotated[float, Field(ge=0, le=1)] = Field(default=0.4, description="b: a factor from 1 - b to 1 + b")
    contrast: Annotated[float, Field(ge=0, le=1)] = Field(default=0.4, description="c: a factor from 1 - c to 1 + c")
    saturation: Annotated[float, Field(ge=0, le=1)] = Field(default=0.4, description="s: a factor from 1 - s to 1 + s")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(default=0.1, description="h: a turn from -h to h of the colour circle")


class RandomErasing(Table):
    """A window of random area and shape filled with noise.

    Source: Zhong et al. 2017, arXiv:1708.04896, algorithm 1, filled as its RE-R; scale and ratio of
    torchvision.transforms.RandomErasing; p of DeiT, Touvron et al. 2020, arXiv:2012.12877, table 9.
    """

    name: Literal["random_erasing"]
    p: Chance = Field(default=0.25, description="part of the images in which a window is erased")
    scale: Parts = Field(
        default=(0.02, 0.33), description="smallest and largest area of the window, as a part of the picture's"
    )
    ratio: Ratios = Field(default=(0.3, 3.3), description="smallest and largest width / height of the window")


class Mixup(Table):
    """Each image and its label blended with another's.

    Source: Zhang et al. 2017, arXiv:1710.09412, section 2; it has alpha 0.1 to 0.4 for ImageNet (section 3.1), torchvision's
    reference training 0.2.
    """

    name: Literal["mixup"]
    alpha: float = Field(default=0.2, gt=0, le=100, description="the image's own share is drawn from Beta(alpha, alpha)")


class Cutmix(Table):
    """A window of each image replaced with another's, the label by area.

    Source: Yun et al. 2019, arXiv:1905.04899, section 3.1, where alpha is 1.
    """

    name: Literal["cutmix"]
    alpha: float = Field(default=1.0, gt=0, le=100, description="the image's own share is drawn from Beta(alpha, alpha)")


class RandAugment(Table):
    """Operations drawn for each image from a list of 14, all of one strength.

    Source: Cubuk et al. 2019, arXiv:1909.13719, section 3, with N = 2 and M = 9 as there for ResNet-50; operations and
    strengths are those of torchvision.transforms.RandAugment with 31 bins.
    """

    name: Literal["randaugment"]
    ops: int = Field(default=2, ge=1, le=14, description="operations one after another")
    magnitude: int = Field(default=9, ge=0, le=30, description="strength of each, 0 to 30")


Augmentation = (
    RandomCrop | RandomResizedCrop | HFlip | VFlip | Rotate | ColorJitter | RandomErasing | Mixup | Cutmix | RandAugment
)
Name = Literal[
    "random_crop",
    "random_resized_crop",
    "hflip",
    "vflip",
    "rotate",
    "color_jitter",
    "random_erasing",
    "mixup",
    "cutmix",
    "randaugment",
]


def needs_room(tables: Iterable[Augmentation]) -> bool:
    """Whether pictures must be larger than the network's input, because a window is drawn from them."""
    return any(isinstance(table, RandomCrop | RandomResizedCrop) for table in tables)


def mixes(tables: Iterable[Augmentation]) -> bool:
    """Whether an image is mixed with another, so that what the network sees is no function of one image."""
    return any(isinstance(table, Mixup | Cutmix) for table in tables)


def read(items: Sequence[str | dict[str, Any]]) -> list[Augmentation]:
    """Read what `data.augment` may hold: names and tables.

    Raises:
        pydantic.ValidationError: as the recipe would be refused.
    """
    return _LIST.validate_python(list(items))


def _table(item: object) -> object:
    """Write a name as the table with that name and its defaults."""
    return {"name": item} if isinstance(item, str) else item


def _go_together(tables: list[Augmentation]) -> list[Augmentation]:
    names = [table.name for table in tables]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"names {doubled} twice; name it once")
    if "random_crop" in names and "random_resized_crop" in names:
        raise ValueError("names random_crop and random_resized_crop, and an image is cropped once; name one of them")
    return tables


def _can_be_fixed(views: int | None, info: ValidationInfo) -> int | None:
    tables: Sequence[Augmentation] | None = info.data.get("augment")  # None where it was refused
    if views is None or tables is None:
        return views
    if not tables:
        raise ValueError(f"is {views}, but nothing is augmented: name augmentations in data.augment, or leave this out")
    mixing = next((table.name for table in tables if mixes([table])), None)
    if mixing is not None:
        raise ValueError(f"is {views}, but {mixing} mixes images, so views cannot be fixed; leave out one of the two")
    return views


_Item = Annotated[
    Annotated[Augmentation, Field(discriminator="name")],
    BeforeValidator(_table, json_schema_input_type=Name | Annotated[Augmentation, Field(discriminator="name")]),
]
# The types of data.augment and of data.augment_views, which stands after it.
Augmentations = Annotated[list[_Item], AfterValidator(_go_together)]
Views = Annotated[Annotated[int, Field(ge=1)] | None, AfterValidator(_can_be_fixed)]
_LIST: TypeAdapter[list[Augmentation]] = TypeAdapter(Augmentations)
