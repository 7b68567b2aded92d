"""Photographs and video frames in their official layouts: CamVid, Cityscapes, Pascal VOC, Oxford pets."""

from __future__ import annotations

from pathlib import Path

from tlkit.errors import DataError
from tlkit.plugin import IGNORED, MaskCoding
from tlkit_masks import PathOptions, VocOptions
from tlkit_masks.pairs import Layout, Pair, Parts

_CAMVID_CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
_CAMVID_CODING = MaskCoding({**{number: number for number in range(len(_CAMVID_CLASSES))}, 11: IGNORED})
_CITYSCAPES_CLASSES = {  # as in torchvision.datasets.cityscapes: the classes that are evaluated, by the value in *_labelIds.png
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31,
    "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
_CITYSCAPES_CODING = MaskCoding({value: number for number, value in enumerate(_CITYSCAPES_CLASSES.values())}, rest=IGNORED)
_VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOC_FOLDERS = ("VOCdevkit/VOC{year}", "TrainVal/VOCdevkit/VOC{year}", "VOC{year}", ".")
_PETS_CODING = MaskCoding({1: 1, 2: 0, 3: IGNORED})  # the outline, 3, is neither


def _camvid(folder: Path, options: PathOptions) -> Parts:
    """Return the three official parts as SegNet has them, train/NAME.png, trainannot/NAME.png; frames of one recording belong together."""
    names = {"train": "train", "validation": "val", "test": "test"}
    return {
        part: [Pair(picture, folder / f"{name}annot" / picture.name, group=picture.stem.partition("_")[0]) for picture in found]
        for part, name in names.items()
        if (found := sorted((folder / name).glob("*.png")))
    }


def _cityscapes(folder: Path, options: PathOptions) -> Parts:
    """Return the training pictures, and as test set the official validation pictures: masks of the test set are not published.

    They are leftImg8bit/train/CITY/NAME_leftImg8bit.png, gtFine/train/CITY/NAME_gtFine_labelIds.png.
    """
    return {
        part: [
            Pair(
                picture,
                folder / "gtFine" / name / picture.parent.name / picture.name.replace("_leftImg8bit", "_gtFine_labelIds"),
                group=picture.parent.name,
            )
            for picture in sorted((folder / "leftImg8bit" / name).glob("*/*_leftImg8bit.png"))
        ]
        for part, name in (("train", "train"), ("test", "val"))
    }


def voc_folder(folder: Path, year: str, inside: str) -> Path:
    """Return the folder of a year of Pascal VOC that has a folder in it: the given one, or below it where an archive puts it."""
    places = [folder / name.format(year=year) for name in _VOC_FOLDERS]
    return next((each for each in places if (each / inside).is_dir()), folder)


def _voc(place: Path, options: VocOptions) -> Parts:
    """Return the training pictures and as test set the official validation pictures, as ImageSets/Segmentation lists them."""
    return {
        part: [
            Pair(place / "JPEGImages" / f"{each}.jpg", place / "SegmentationClass" / f"{each}.png")
            for each in _lines(place / "ImageSets/Segmentation" / f"{name}.txt")
        ]
        for part, name in (("train", "train"), ("test", "val"))
    }


def _pets(folder: Path, options: PathOptions) -> Parts:
    """Return the two official parts, as annotations/trainval.txt and test.txt list them."""
    return {
        part: [
            Pair(folder / "images" / f"{each}.jpg", folder / "annotations/trimaps" / f"{each}.png")
            for each in (line.split()[0] for line in _lines(folder / "annotations" / f"{name}.txt"))
        ]
        for part, name in (("train", "trainval"), ("test", "test"))
    }


def _lines(path: Path) -> list[str]:
    """Return the lines of a list that are not empty; [] where there is no such file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


_CAMVID = Layout(_camvid, _CAMVID_CLASSES, _CAMVID_CODING)
_CITYSCAPES = Layout(_cityscapes, tuple(_CITYSCAPES_CLASSES), _CITYSCAPES_CODING)
_VOC = Layout(
    _voc, _VOC_CLASSES, MaskCoding(), lambda folder, options: voc_folder(folder, options.year, "SegmentationClass")
)  # outlines are 255, which is ignored
_PETS = Layout(_pets, ("background", "pet"), _PETS_CODING)
find_camvid, read_camvid = _CAMVID.find, _CAMVID.read
find_cityscapes, read_cityscapes = _CITYSCAPES.find, _CITYSCAPES.read
find_voc, read_voc = _VOC.find, _VOC.read
find_pets, read_pets = _PETS.find, _PETS.read
