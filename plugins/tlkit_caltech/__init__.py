"""Caltech-101: Fei-Fei, Fergus & Perona 2004; data.caltech.edu/records/mzrjq-6wc02."""

from pydantic import Field

from tlkit.plugin import Dataset, Download, Options


class CaltechOptions(Options):
    """What of it is used.

    Attributes:
        background: The 102nd folder, BACKGROUND_Google, is a class too.
        test_fraction: Part of each class that becomes the test set; data.split.fractions splits all images anew.
    """

    background: bool = False
    test_fraction: float = Field(default=0.2, gt=0, lt=1)


def _images(options: CaltechOptions | None) -> dict[str, int]:
    """How many images each split has, with the usual part of each class in the test set."""
    return {"train": 7_315, "test": 1_829} if options is not None and options.background else {"train": 6_941, "test": 1_736}


caltech101 = Dataset(
    read="tlkit_caltech.read:read",
    find="tlkit_caltech.read:find",
    subfolder="caltech-101",
    downloads=(
        Download(
            url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            checksum="md5:3138e1922a9193bfa496528edbbc45d0",  # as in torchvision.datasets.Caltech101
            filename="caltech-101.zip",
            archive=True,
            inner="101_ObjectCategories.tar.gz",
        ),
    ),
    nominal=_images,
    options=CaltechOptions,
    licence="CC BY 4.0",
    summary="8,677 photographs of objects in 101 classes of 31 to 800, and 467 of background",
)
