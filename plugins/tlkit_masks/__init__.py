"""Data sets whose pictures have a mask each: folders of one's own, and vessels of the retina."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from tlkit.plugin import Dataset, Options

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class SegmentationFolderOptions(Options):
    """Where pictures and masks are, and what masks hold.

    Attributes:
        path: The folder: images/ and masks/ in it, or in train/, val/ and test/ of it. A mask has the name of its picture.
        classes: Names in the order of their numbers; of two the second is the positive one.
        values: Class -> its value in the masks, { vessel = 255 }; by default the number of the class.
        colours: Class -> its colour in the masks, { road = "#804080" }, where they are pictures of colours.
        suffix: What the name of a mask has behind that of its picture, "_mask".
        field_of_view: Name of a folder beside images/ with pictures that are bright where the camera saw something; what is outside
            counts for nothing.
        test_fraction: Part of the pictures that is tested on, where there is no test folder.
        group: Regular expression that finds a group's name in the beginning of a picture's name; a group is never split.
    """

    path: str | None = None
    classes: list[str] = Field(min_length=2, max_length=255)
    values: dict[str, int] = Field(default_factory=dict)
    colours: dict[str, str] = Field(default_factory=dict)
    suffix: str = ""
    field_of_view: str | None = None
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    group: str | None = None

    @model_validator(mode="after")
    def _of_classes(self) -> SegmentationFolderOptions:
        if self.values and self.colours:
            raise ValueError("values and colours are both given; give one")
        for table in (self.values, self.colours):
            unknown = [name for name in table if name not in self.classes]
            if unknown:
                raise ValueError(f"{unknown[0]} is none of the classes, {', '.join(self.classes)}")
        if self.colours and (missing := [name for name in self.classes if name not in self.colours]):
            raise ValueError(f"class {missing[0]} has no colour")
        if wrong := [colour for colour in self.colours.values() if not _COLOUR.fullmatch(colour)]:
            raise ValueError(f'{wrong[0]} is no colour, "#804080" for instance')
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise ValueError(f"group is no regular expression: {error}") from error
        return self


class DriveOptions(Options):
    """Which folder.

    Attributes:
        path: The folder with training/ and test/, as the official archive has them.
    """

    path: str | None = None


segmentation_folder = Dataset(
    read="tlkit_masks.folder:read",
    find="tlkit_masks.folder:find",
    options=SegmentationFolderOptions,
    licence="that of the images",
    summary="pictures in images/ and their masks in masks/, with or without train, val and test folders above",
)
drive = Dataset(
    read="tlkit_masks.retina:read",
    find="tlkit_masks.retina:find",
    subfolder="DRIVE",
    page="https://drive.grand-challenge.org",
    nominal={"train": 20, "test": 20},
    classes=2,
    options=DriveOptions,
    licence="research use (Staal et al. 2004)",
    summary="DRIVE: vessels in 40 photographs of the retina, 565 x 584, with the field of view, 20 to train on",
)
