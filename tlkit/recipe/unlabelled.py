"""The table data.unlabelled: more images, which are trained on without labels."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tlkit.recipe.augmentations import SecondView
from tlkit.recipe.table import Table


class UnlabelledTable(Table):
    """More images of the same kind, without labels: where the network is sure of the class of one, it is trained on with that class."""

    name: str = Field(
        min_length=1,
        description='name of a data set, whose labels are not read; "images" is a folder of image files without any order',
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of this data set, as `tlkit show NAME` lists them"
    )
    threshold: float = Field(
        default=0.95, gt=0, le=1, description="least probability of the likeliest class with which an image is trained on"
    )
    weight: float = Field(
        default=1.0, gt=0, le=1e6, description="weight of the loss of these images; that of the labelled images has weight 1"
    )
    second_view: SecondView = Field(
        default_factory=list,
        description='augmentations of a second view of each of these images, behind those of data.augment, for instance ["randaugment"]: the '
        "first view gives the label, and the second is trained on. Default: one view, which gives its label and is trained on",
    )
