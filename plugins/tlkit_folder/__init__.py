"""Images of one's own, in a folder per class."""

import re
import warnings
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tlkit.plugin import Channels, Dataset, Options, PixelRange


def _compiles(value: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python's own would stand beside the messages, or be shown to nobody
            re.compile(value)
    except (re.error, FutureWarning, DeprecationWarning, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    except RecursionError:
        raise ValueError("is no regular expression: too many brackets inside each other") from None
    return value


Pattern = Annotated[str, AfterValidator(_compiles)]  # a regular expression


class FolderOptions(Options):
    """Which folder, and how it is split.

    Attributes:
        path: The folder.
        test_fraction: Part of each class that becomes the test set where the folder has none of its own; 0 for no test set.
        group: Regular expression that finds a group's name at the beginning of a file's name, "person[0-9]+"; images of one
            group are never split. A file in which it finds none is a group of its own.
        splits: Which folder is which split, { fold_1 = "train", fold_2 = "test" }, where their names do not say it; {} where none
            is a split, whatever its name.
        range: Value of white in files of more than 8 bits, 4095 for 12, or [black, white]; not given where each file says it.
        channels: The key data.channels of the recipe.
    """

    path: str | None = None
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    group: Pattern | None = None
    splits: dict[str, Literal["train", "validation", "test"]] | None = None
    range: PixelRange | None = None
    channels: Channels = None


class ImagesOptions(Options):
    """Which folder of images without labels.

    Attributes:
        path: The folder.
        range: As for a folder of classes.
        channels: The key data.channels of the recipe.
    """

    path: str | None = None
    range: PixelRange | None = None
    channels: Channels = None


images = Dataset(
    read="tlkit_folder.unordered:read",
    find="tlkit_folder.unordered:find",
    options=ImagesOptions,
    licence="that of the images",
    summary="image files anywhere below a folder, without labels: for data.unlabelled",
)
folder = Dataset(
    read="tlkit_folder.read:read",
    find="tlkit_folder.read:find",
    options=FolderOptions,
    test_options=("splits",),
    licence="that of the images",
    summary="image files in one sub-folder per class, with or without train, val and test folders above",
)
