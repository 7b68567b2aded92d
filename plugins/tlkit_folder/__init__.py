"""Images of one's own, in a folder per class."""

from pydantic import Field

from tlkit.plugin import Dataset, Options


class FolderOptions(Options):
    """Which folder, and how it is split.

    Attributes:
        path: The folder.
        test_fraction: Part of each class that becomes the test set where the folder has none of its own.
    """

    path: str | None = None
    test_fraction: float = Field(default=0.2, gt=0, lt=1)


folder = Dataset(
    read="tlkit_folder.read:read",
    find="tlkit_folder.read:find",
    options=FolderOptions,
    licence="that of the images",
    summary="image files in one sub-folder per class, with or without train, val and test folders above",
)
