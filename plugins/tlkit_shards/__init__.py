"""Images in a few large files: WebDataset tar shards, and parquet files of the Hugging Face layout; on a disk or behind an address."""

from pydantic import Field

from tlkit.plugin import DataPath, Dataset, Options, PixelRange


class _StoredOptions(Options):
    """What both kinds of files have.

    Attributes:
        path: The folder; or a pattern of the training files, "images/train-{000..099}.tar"; or an address of either, https://, s3://,
            gs:// or hf://.
        validation: Pattern of the files of validation images, below the folder of `path`; "" where their names say it.
        test: Pattern of the files of test images, likewise.
        classes: Names of the classes, in the order of the labels that are numbers; [] where the files name them.
        buffer: Number of images that an epoch shuffles at a time, one shuffled file after the other: so it reads few files at a time. Not given,
            it shuffles all images, and 10,000 at a time where files can only be read from beginning to end.
        test_fraction: Part of each class that becomes the test set where no file is of test images.
        range: Value of white in files of more than 8 bits, 4095 for 12, or [black, white]; not given where each file says it.
    """

    path: str | None = None
    validation: DataPath = ""
    test: DataPath = ""
    classes: list[str] = Field(default_factory=list)
    buffer: int | None = Field(default=None, ge=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    range: PixelRange | None = None


class ShardsOptions(_StoredOptions):
    """Which shards, and what their members are called.

    Attributes:
        image: Ending of the image's member, "jpg", where a sample has several images; "" where it has one.
        label: Key of the class in the member that ends in json; "" where there is a member that ends in cls, or the key is "label".
    """

    image: str = ""
    label: str = ""


class ParquetOptions(_StoredOptions):
    """Which parquet files, and what their columns are called.

    Attributes:
        image: Column of the images: bytes, or a struct with the field "bytes".
        label: Column of the classes: numbers, or names.
    """

    image: str = "image"
    label: str = "label"


shards = Dataset(
    read="tlkit_shards.read:read",
    find="tlkit_shards.find:find_shards",
    verify="tlkit_shards.find:verify",
    addresses=True,
    options=ShardsOptions,
    test_options=("validation", "test"),
    licence="that of the images",
    summary="images in WebDataset tar shards, on a disk or behind an address",
)
parquet = Dataset(
    read="tlkit_shards.read:read",
    find="tlkit_shards.find:find_parquet",
    verify="tlkit_shards.find:verify",
    addresses=True,
    options=ParquetOptions,
    test_options=("validation", "test"),
    licence="that of the images",
    summary="images in parquet files of the Hugging Face layout, on a disk or behind an address",
)
