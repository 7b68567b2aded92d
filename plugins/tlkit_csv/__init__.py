"""Images that a table lists: a CSV file with a row an image."""

from pydantic import Field

from tlkit.plugin import Channels, DataPath, Dataset, Options, PixelRange


class CsvOptions(Options):
    """Which table, and what its columns are called.

    Attributes:
        path: Folder of the table; paths in it begin there, or where there is no such image at the table's own folder.
        file: The table. Its first row names the columns.
        validation_file: Table of the validation images, with the same columns; "" where there is none.
        test_file: Table of the test images, with the same columns; "" where there is none.
        image: Column of the images' paths.
        prefix: What is put before each path: "images/" for instance.
        suffix: What is put behind each path: ".jpg" for instance.
        label: Column of the classes' names.
        classes: Columns that are a class each and say 1 or 0, in place of `label`.
        several: With `classes`, an image may have any number of them: then labels are for a multi-label head.
        split: Column that says train, val or test; "" where there is none, and a test set is split off.
        separator: Between the classes of an image that may have several or none, "|" for instance: then labels are for a multi-label
            head; "" where each has one.
        none: What that column says of an image of no class; an empty cell says it too.
        group: Column of what belongs together, patients for instance; "" where there is none.
        test_fraction: Part of each class that becomes the test set where no column and no table says which images are; 0 for no
            test set.
        delimiter: Between the cells: ",", ";", a tab or "|"; "" where the table shows it.
        encoding: Of the text; "" for UTF-8, or UTF-16 where the file begins so. "latin-1" is another.
        header: The first row names the columns. Without such a row they are called 1, 2, 3, and `image` is 1 and `label` 2 unless
            they say otherwise.
        range: Value of white in files of more than 8 bits, 4095 for 12, or [black, white]; not given where each file says it.
        channels: The key data.channels of the recipe.
    """

    path: str | None = None
    file: DataPath = "labels.csv"
    validation_file: DataPath = ""
    test_file: DataPath = ""
    image: str = "path"
    prefix: DataPath = ""
    suffix: str = ""
    label: str = "label"
    classes: list[str] = Field(default_factory=list)
    several: bool = False
    split: str = ""
    separator: str = ""
    none: str = ""
    group: str = ""
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    delimiter: str = Field(default="", max_length=1)
    encoding: str = ""
    header: bool = True
    range: PixelRange | None = None
    channels: Channels = None


def _version(options: CsvOptions | None, folds: bool) -> str:
    """Return "train" for folds where tables alone say which images are tested: earlier folds divided those images too."""
    if not folds or options is None or options.split:
        return ""
    return "train" if options.test_file or options.validation_file else ""


csv = Dataset(
    read="tlkit_csv.read:read",
    find="tlkit_csv.read:find",
    options=CsvOptions,
    test_options=("file", "validation_file", "test_file", "split"),
    version=_version,
    licence="that of the images",
    summary="images that a CSV file lists, with a column of paths and one of classes, or of several separated ones",
)
