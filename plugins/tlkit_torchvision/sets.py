"""What each set is: addresses, checksums and layout are those of torchvision 0.29's classes, the counts of the sets' own pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tlkit.errors import PluginError, nearest
from tlkit.plugin import Dataset, Download


@dataclass(frozen=True)
class Set:
    """One set.

    Attributes:
        reader: torchvision's class.
        folder: That it reads, below the root that it is given.
        needs: Files and folders in it by which it is known.
        images: Folder of image files in it; "" where the files above hold the pixels.
        splits: tlkit's name -> torchvision's.
        downloads: What makes it.
        nominal: Images per split.
        classes: Number of them.
        licence: Licence of the images.
        summary: One line.
    """

    reader: str
    folder: str
    needs: tuple[str, ...]
    images: str
    splits: Mapping[str, str]
    downloads: tuple[Download, ...]
    nominal: Mapping[str, int]
    classes: int
    licence: str
    summary: str


def _archive(url: str, md5: str, into: str = "") -> Download:
    return Download(url=url, checksum=f"md5:{md5}", filename=url.rpartition("/")[2], archive=True, into=into)


def _file(url: str, md5: str, into: str) -> Download:
    return Download(url=url, checksum=f"md5:{md5}", filename=url.rpartition("/")[2], into=into)


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data/"
_TRAIN_TEST = {"train": "train", "test": "test"}
_THREE = {"train": "train", "validation": "val", "test": "test"}

SETS = {
    "oxford_pets": Set(
        reader="OxfordIIITPet",
        folder="oxford-iiit-pet",
        needs=("annotations/trainval.txt", "annotations/test.txt", "images"),
        images="images",
        splits={"train": "trainval", "test": "test"},
        downloads=(
            _archive(f"{_OXFORD}pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet"),
            _archive(f"{_OXFORD}pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", "oxford-iiit-pet"),
        ),
        nominal={"train": 3_680, "test": 3_669},
        classes=37,
        licence="CC BY-SA 4.0",
        summary="7,349 photographs of 37 breeds of cats and dogs",
    ),
    "flowers102": Set(
        reader="Flowers102",
        folder="flowers-102",
        needs=("imagelabels.mat", "setid.mat", "jpg"),
        images="jpg",
        splits=_THREE,
        downloads=(
            _archive(f"{_OXFORD}flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102"),
            _file(f"{_OXFORD}flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "flowers-102"),
            _file(f"{_OXFORD}flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
        ),
        nominal={"train": 1_020, "validation": 1_020, "test": 6_149},
        classes=102,
        licence="none stated by its authors; cite Nilsback & Zisserman 2008",
        summary="8,189 photographs of 102 kinds of flowers",
    ),
    "dtd": Set(
        reader="DTD",
        folder="dtd",
        needs=("dtd/labels/train1.txt", "dtd/labels/val1.txt", "dtd/labels/test1.txt", "dtd/images"),
        images="dtd/images",
        splits=_THREE,
        downloads=(_archive(f"{_OXFORD}dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1", "dtd"),),
        nominal={"train": 1_880, "validation": 1_880, "test": 1_880},
        classes=47,
        licence="research use; cite Cimpoi et al. 2014",
        summary="5,640 photographs of 47 kinds of textures, the first of its ten splits",
    ),
    "svhn": Set(
        reader="SVHN",
        folder="",
        needs=("train_32x32.mat", "test_32x32.mat"),
        images="",
        splits=_TRAIN_TEST,
        downloads=(
            _file("http://ufldl.stanford.edu/housenumbers/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", "svhn"),
            _file("http://ufldl.stanford.edu/housenumbers/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", "svhn"),
        ),
        nominal={"train": 73_257, "test": 26_032},
        classes=10,
        licence="non-commercial use; cite Netzer et al. 2011",
        summary="99,289 digits of house numbers, 32x32",
    ),
    "stl10": Set(
        reader="STL10",
        folder="stl10_binary",
        needs=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
        images="",
        splits=_TRAIN_TEST,
        downloads=(_archive("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),),
        nominal={"train": 5_000, "test": 8_000},
        classes=10,
        licence="images of ImageNet; cite Coates, Ng & Lee 2011",
        summary="13,000 photographs of 96x96 in 10 classes; its unlabelled images are not used",
    ),
    "food101": Set(
        reader="Food101",
        folder="food-101",
        needs=("meta/train.json", "meta/test.json", "images"),
        images="images",
        splits=_TRAIN_TEST,
        downloads=(_archive("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),),
        nominal={"train": 75_750, "test": 25_250},
        classes=101,
        licence="images of foodspotting.com; cite Bossard et al. 2014",
        summary="101,000 photographs of 101 dishes",
    ),
}


def dataset(name: str) -> Dataset:
    """Return the set of a name.

    Raises:
        PluginError: there is none.
    """
    if name not in SETS:
        raise PluginError(f'torchvision: there is no data set "{name}" here.', f"sets: {', '.join(SETS)}", nearest(name, SETS))
    found = SETS[name]
    return Dataset(
        read=f"tlkit_torchvision.read:{name}",
        find=f"tlkit_torchvision.find:{name}",
        subfolder=found.folder or name,
        downloads=found.downloads,
        nominal=found.nominal,
        classes=found.classes,
        licence=found.licence,
        summary=found.summary,
    )
