"""Photographs and video frames in their official layouts: CamVid, Cityscapes, Pascal VOC, Oxford pets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlkit.errors import DataError
from tlkit.plugin import IGNORED, DataFiles, Images, MaskCoding
from tlkit_masks import PathOptions, VocOptions, pairs
from tlkit_masks.pairs import Pair, Parts

_CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
_CAMVID_CODING = MaskCoding({**{number: number for number in range(len(_CAMVID))}, 11: IGNORED})
_CITYSCAPES = {  # as in torchvision.datasets.cityscapes: the classes that are evaluated, by the value in *_labelIds.png
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31,
    "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
_CITYSCAPES_CODING = MaskCoding({value: number for number, value in enumerate(_CITYSCAPES.values())}, rest=IGNORED)
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOC_FOLDERS = ("VOCdevkit/VOC{year}", "TrainVal/VOCdevkit/VOC{year}", "VOC{year}", ".")
_PETS_CODING = MaskCoding({1: 1, 2: 0, 3: IGNORED})  # the outline, 3, is neither


def find_camvid(folder: Path, options: PathOptions) -> DataFiles:
    """Return the frames of CamVid in SegNet's layout: train/NAME.png, trainannot/NAME.png, and so val and test."""
    return pairs.found(folder, _camvid(folder))


def read_camvid(files: DataFiles, options: PathOptions) -> Images:
    """Return the three official parts; frames of one recording belong together."""
    return pairs.images(_camvid(files.root), _CAMVID, _CAMVID_CODING)


def find_cityscapes(folder: Path, options: PathOptions) -> DataFiles:
    """Return the finely drawn pictures: leftImg8bit/train/CITY/NAME_leftImg8bit.png, gtFine/train/CITY/NAME_gtFine_labelIds.png."""
    return pairs.found(folder, _cityscapes(folder))


def read_cityscapes(files: DataFiles, options: PathOptions) -> Images:
    """Return the training pictures, and the official validation pictures as test set: the masks of the test set are not published."""
    return pairs.images(_cityscapes(files.root), tuple(_CITYSCAPES), _CITYSCAPES_CODING)


def find_voc(folder: Path, options: VocOptions) -> DataFiles:
    """Return the pictures of ImageSets/Segmentation/train.txt and val.txt, in JPEGImages and SegmentationClass."""
    place = next((each for each in _voc_places(folder, options) if (each / "SegmentationClass").is_dir()), folder)
    return pairs.found(place, _listed(place))


def read_voc(files: DataFiles, options: VocOptions) -> Images:
    """Return the training pictures, and the official validation pictures as test set; outlines count for nothing."""
    return pairs.images(_listed(files.root), _VOC, MaskCoding())


def find_pets(folder: Path, options: PathOptions) -> DataFiles:
    """Return the pictures of annotations/trainval.txt and test.txt, in images and annotations/trimaps."""
    return pairs.found(folder, _pets(folder))


def read_pets(files: DataFiles, options: PathOptions) -> Images:
    """Return the two official parts; outlines count for nothing."""
    return pairs.images(_pets(files.root), ("background", "pet"), _PETS_CODING)


def _camvid(folder: Path) -> Parts:
    names = {"train": "train", "validation": "val", "test": "test"}
    return {
        part: [Pair(picture, folder / f"{name}annot" / picture.name, group=picture.stem.partition("_")[0]) for picture in found]
        for part, name in names.items()
        if (found := sorted((folder / name).glob("*.png")))
    }


def _cityscapes(folder: Path) -> Parts:
    parts = {}
    for part, name in (("train", "train"), ("test", "val")):
        parts[part] = [
            Pair(
                picture,
                folder / "gtFine" / name / picture.parent.name / picture.name.replace("_leftImg8bit", "_gtFine_labelIds"),
                group=picture.parent.name,
            )
            for picture in sorted((folder / "leftImg8bit" / name).glob("*/*_leftImg8bit.png"))
        ]
    return parts


def _voc_places(folder: Path, options: VocOptions) -> Sequence[Path]:
    return [folder / name.format(year=options.year) for name in _VOC_FOLDERS]


def _listed(place: Path) -> Parts:
    parts: dict[str, Sequence[Pair]] = {}
    for part, name in (("train", "train"), ("test", "val")):
        listed = place / "ImageSets/Segmentation" / f"{name}.txt"
        parts[part] = [
            Pair(place / "JPEGImages" / f"{each}.jpg", place / "SegmentationClass" / f"{each}.png") for each in _lines(listed)
        ]
    return parts


def _pets(folder: Path) -> Parts:
    parts: dict[str, Sequence[Pair]] = {}
    for part, name in (("train", "trainval"), ("test", "test")):
        names = [line.split()[0] for line in _lines(folder / "annotations" / f"{name}.txt")]
        parts[part] = [
            Pair(folder / "images" / f"{each}.jpg", folder / "annotations/trimaps" / f"{each}.png") for each in names
        ]
    return parts


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
