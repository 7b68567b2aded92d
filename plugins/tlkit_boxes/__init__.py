"""Pictures with objects in boxes: COCO's JSON, Pascal VOC's XML, YOLO's text files; published sets and sets of one's own."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tlkit.plugin import DataPath, Dataset, Download, Options
from tlkit_masks import VOC_2012

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike",
    "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

BadBoxes = Literal["error", "skip"]
Fraction = Annotated[float, Field(gt=0, lt=1)]


def _differ(value: list[str] | None) -> list[str] | None:
    if value is not None and len(set(value)) < len(value):
        raise ValueError("names a class twice")
    return value


class CocoOptions(Options):
    """Options of coco.

    Attributes:
        path: The folder.
        train: The file of the training pictures, in the folder.
        validation: Of the validation pictures; none by default.
        test: Of the test pictures; "" where there is none, and test_fraction of the training pictures are tested.
        images: Folder of the pictures; by default the one that is named as the file, train2017 of instances_train2017.json, or images.
        test_fraction: Part of the pictures that becomes the test set, with test = "".
        bad_boxes: "skip" leaves out boxes without area, outside their picture or of no class; by default they are errors.
    """

    path: str | None = None
    train: DataPath = "annotations/instances_train2017.json"
    validation: DataPath | None = None
    test: DataPath = "annotations/instances_val2017.json"
    images: DataPath | None = None
    test_fraction: Fraction = 0.2
    bad_boxes: BadBoxes = "error"


class VocOptions(Options):
    """Options of voc.

    Attributes:
        path: The folder that holds VOCdevkit, VOC2012, or Annotations and JPEGImages.
        year: Of the challenge.
        classes: Names of the classes; by default the 20 of the challenge.
        test_fraction: Part of the pictures that becomes the test set, where ImageSets/Main has no lists.
        bad_boxes: "skip" leaves out boxes without area, outside their picture or of no class; by default they are errors.
    """

    path: str | None = None
    year: Literal["2007", "2008", "2009", "2010", "2011", "2012"] = "2012"
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    test_fraction: Fraction = 0.2
    bad_boxes: BadBoxes = "error"

    _classes_differ = field_validator("classes")(_differ)


class YoloOptions(Options):
    """Options of yolo.

    Attributes:
        path: The folder: images/ and labels/, alone, or below or above train, val and test.
        classes: Names of the classes in the order of their numbers; by default the lines of classes.txt or obj.names in the folder.
        test_fraction: Part of the pictures that becomes the test set where the folder has none of its own.
        bad_boxes: "skip" leaves out boxes without area, outside their picture or of no class; by default they are errors.
    """

    path: str | None = None
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    test_fraction: Fraction = 0.2
    bad_boxes: BadBoxes = "error"

    _classes_differ = field_validator("classes")(_differ)


def _voc_downloads(options: VocOptions | None) -> tuple[Download, ...]:
    """Return the archive of 2012; those of other years are found on the page."""
    if options is not None and (options.year != "2012" or options.classes is not None):
        return ()
    return (VOC_2012,)


coco = Dataset(
    read="tlkit_boxes.coco_json:read",
    find="tlkit_boxes.coco_json:find",
    options=CocoOptions,
    test_options=("train", "validation", "test"),
    page="https://cocodataset.org",
    licence="annotations CC BY 4.0; pictures from Flickr, each with a licence of its own",
    summary="objects in boxes, as COCO's JSON has them: COCO itself, or pictures of your own",
)
voc = Dataset(
    read="tlkit_boxes.voc_xml:read",
    find="tlkit_boxes.voc_xml:find",
    options=VocOptions,
    test_options=("year",),
    downloads=_voc_downloads,
    page="http://host.robots.ox.ac.uk/pascal/VOC",
    licence="research use; pictures from Flickr (Everingham et al. 2010)",
    summary="objects in boxes, as Pascal VOC's XML has them; its validation set is tested",
)
yolo = Dataset(
    read="tlkit_boxes.yolo_text:read",
    find="tlkit_boxes.yolo_text:find",
    options=YoloOptions,
    test_options=(),
    summary="objects in boxes, as YOLO's text files have them: a line of class, middle and size for each",
)
