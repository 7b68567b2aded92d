"""Pascal VOC's XML: a file for each picture, with objects whose first pixel is number 1: Everingham et al. 2010, the development kit."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tlkit.errors import DataError
from tlkit.plugin import DataFiles, Images
from tlkit_boxes import VOC_CLASSES, VocOptions, pictures
from tlkit_boxes.pictures import Box, Parts, Picture
from tlkit_masks.scenes import voc_folder

_LISTS = {"train": "train", "test": "val"}  # the test set's boxes of 2012 are not published


def find(folder: Path, options: VocOptions) -> DataFiles:
    """Return every picture with its XML.

    Raises:
        DataMissing: there is none.
        DataError: a picture has no XML or two, or the other way round.
    """
    place = voc_folder(folder, options.year, "Annotations")
    pairs = [pair for each in _pairs(place).values() for pair in each]
    return pictures.found(place, [picture for picture, _ in pairs], [listed for _, listed in pairs])


def read(files: DataFiles, options: VocOptions) -> Images:
    """Return the splits of ImageSets/Main, where the validation pictures are tested; difficult objects are ignored.

    Raises:
        DataError: an XML is damaged, or a box cannot be learned.
    """
    parts: Parts = {part: [_picture(*pair) for pair in pairs] for part, pairs in _pairs(files.root).items()}
    classes = VOC_CLASSES if options.classes is None else options.classes
    named = _list(files.root, "train")
    return pictures.images(
        parts, classes, listed=named if named.is_file() else files.root / "Annotations", test_fraction=options.test_fraction,
        skip=options.bad_boxes == "skip",
    )  # fmt: skip


def _pairs(place: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Return the picture and the XML of each name, by split."""
    pictured = {path.stem: path for path in pictures.files_in(place / "JPEGImages")}
    lists = {part: _list(place, part) for part in _LISTS}
    if all(path.is_file() for path in lists.values()):
        names = {part: [line.split()[0] for _, line in pictures.lines_of(path)] for part, path in lists.items()}
    else:
        names = {"train": sorted({*pictured, *(path.stem for path in (place / "Annotations").glob("*.xml"))})}
    found = {}
    for part, mine in names.items():
        found[part] = [
            (pictured.get(name, place / "JPEGImages" / f"{name}.jpg"), place / "Annotations" / f"{name}.xml") for name in mine
        ]
        for picture, listed in found[part]:
            if not listed.is_file():
                raise DataError(
                    f"{picture}: has no boxes; there is no {listed}.", "a picture without objects has an XML without them"
                )
    return found


def _list(place: Path, part: str) -> Path:
    """Return the official list of a split's names, which may not be there."""
    return place / "ImageSets/Main" / f"{_LISTS[part]}.txt"


def _picture(path: Path, listed: Path) -> Picture:
    text = pictures.text_of(listed)
    try:
        if "<!ENTITY" in text:  # of entities in entities a small file becomes gigabytes
            raise ValueError("defines entities")
        root = ElementTree.fromstring(text)
        size = int(_text(root, "size/height")), int(_text(root, "size/width"))
        boxes = [_box(each, number) for number, each in enumerate(root.iter("object"), start=1)]
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{listed}: is no XML of Pascal VOC: {error}.") from error
    return Picture(path, listed, boxes, size if size != (0, 0) else None)


def _box(element: ElementTree.Element, number: int) -> Box:
    left, top, right, bottom = (float(_text(element, f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
    hard = (element.findtext("difficult") or "0").strip() == "1"
    return Box((left - 1, top - 1, right, bottom), _text(element, "name"), hard, f"object {number}")


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"has no {path}")
    return found.strip()
