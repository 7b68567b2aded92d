"""The tables [also] and [adapt]: other data sets of the same classes, and adapting to one of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlkit.recipe.augmentations import SecondView
from tlkit.recipe.messages import no_such_choice, problem
from tlkit.recipe.table import Table, chosen_by

NONE = "none"  # the method that adapts to nothing


class AlsoSplit(Table):
    """Which images of another data set are its training part."""

    per_class: int | None = Field(
        default=None,
        ge=1,
        description="number of images of each class that are the training part, drawn by the seed from all images of the data set; all "
        "others are tested. Default: the data set's own training and test images",
    )


class AlsoTable(Table):
    """Another data set of the same classes, which is evaluated: images of another domain, for instance. [adapt] may adapt to it."""

    name: str = Field(
        default="",
        description="name of a data set, as `tlkit list --kind dataset` shows it; its test images are evaluated. It may be missing "
        "with `shrink`: then these are the test images of [data]",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this data set, as `tlkit show NAME` lists them"
    )
    shrink: int | None = Field(
        default=None,
        ge=1,
        description="number of pixels to which the shorter side of each image is reduced before it is enlarged to image_size again: "
        "the same images in low resolution. Default: all the pixels that they have",
    )
    split: AlsoSplit = Field(default_factory=AlsoSplit)

    @model_validator(mode="after")
    def _of_something(self) -> AlsoTable:
        if not self.name and self.shrink is None:
            raise ValueError("name is missing; a data set, or shrink = 32 for the test images of [data] in low resolution")
        if not self.name and self.options:
            raise ValueError("options are those of a data set, and name is missing")
        if not self.name and self.split.per_class is not None:
            raise ValueError("split is that of a data set, and name is missing")
        return self

    @property
    def of_own_images(self) -> bool:
        """Whether it evaluates the test images of [data], in low resolution."""
        return not self.name

    @classmethod
    def _elsewhere(cls, key: str) -> str:
        return 'a path is an option: options = { path = "images" }' if key == "path" else ""


PseudoLabels = Literal["prototypes", "confident"]
_PSEUDO_LABELS: tuple[PseudoLabels, ...] = ("prototypes", "confident")


def _pseudo_labels(value: object) -> bool | PseudoLabels:
    """Return "prototypes" for true, so that both have one digest."""
    if value is False:
        return False
    if value is True:
        return "prototypes"
    for known in _PSEUDO_LABELS:
        if value == known:
            return known
    what, *hints = no_such_choice(value, _PSEUDO_LABELS, "")
    raise problem(what, *hints, 'true is "prototypes"; false for none')


class AdaptTable(Table):
    """Domain adaptation: the training images of [data] are the source, and a data set of [also] is the target."""

    target: str = Field(min_length=1, description="name of the target's table in [also]")
    images: Literal["train", "all"] = Field(
        default="train",
        description="target images that are used without labels: its training part, or all, those that are tested too (transductive)",
    )
    labels_per_class: int = Field(
        default=0,
        ge=0,
        description="number of labelled target images of each class, drawn by the seed from the target's training part",
    )
    label_weight: int = Field(
        default=20, ge=1, description="how often each labelled target image counts; an image of the source counts once"
    )
    source: bool = Field(default=True, description="false: only the labelled target images are trained on, to compare with")
    method: str = Field(
        default=NONE, min_length=1, description='"none", or the name of an adapter, as `tlkit list --kind adapter` shows it'
    )
    weight: float = Field(
        default=1.0, gt=0, le=1e6, description="weight of the method's loss; that of the source images has weight 1"
    )
    ramp: bool = Field(
        default=True,
        description="the weight rises from 0 over the training, as DANN's schedule; false: it is the same in every step",
    )
    pseudo_labels: Annotated[bool | PseudoLabels, chosen_by(_pseudo_labels)] = Field(
        default=False,
        description='give labels to target images and fit the head again with them: true or "prototypes" (class of the nearest mean), '
        '"confident" (only images of whose class the head is sure)',
    )
    second_view: SecondView = Field(
        default_factory=list,
        description="augmentations of a second view of each target image, behind those of data.augment, for a method that compares two views",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the method, as `tlkit show METHOD` lists them"
    )
