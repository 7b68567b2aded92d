"""Images that a table lists: a CSV file with a row an image."""

from pydantic import Field

from tlkit.plugin import Dataset, Options


class CsvOptions(Options):
    """Which table, and what its columns are called.

    Attributes:
        path: Folder of the table; paths in it begin there.
        file: The table: comma-separated, the first row names the columns, UTF-8.
        image: Column of the images' paths.
        label: Column of the classes' names.
        split: Column that says train, val or test; "" where there is none, and a test set is split off.
        separator: Between the classes of an image that may have several or none, "|" for instance: then labels are for a multi-label
            head; "" where each has one.
        none: What that column says of an image of no class; an empty cell says it too.
        group: Column of what belongs together, patients for instance; "" where there is none.
        test_fraction: Part of each class that becomes the test set where no column says which images are.
    """

    path: str | None = None
    file: str = "labels.csv"
    image: str = "path"
    label: str = "label"
    split: str = ""
    separator: str = ""
    none: str = ""
    group: str = ""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)


csv = Dataset(
    read="tlkit_csv.read:read",
    find="tlkit_csv.read:find",
    options=CsvOptions,
    licence="that of the images",
    summary="images that a CSV file lists, with a column of paths and one of classes, or of several separated ones",
)
