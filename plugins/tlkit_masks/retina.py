"""Vessels of the retina in the official layouts of four cameras' sets: DRIVE, STARE, CHASE_DB1, HRF."""

from __future__ import annotations

import re
from pathlib import Path

from tlkit.errors import DataError, DataMissing
from tlkit.plugin import DataFiles, Images, MaskCoding
from tlkit_masks import ChaseOptions, DriveOptions, HrfOptions, StareOptions, pairs
from tlkit_masks.pairs import Pair, Parts

_CLASSES = ("background", "vessel")
# DRIVE's second observer drew in 3 and 253, the others in 0 and 255, or 1.
_CODING = MaskCoding({0: 0, 3: 0, 1: 1, 253: 1, 255: 1})
_HRF_KINDS = ("h", "g", "dr")


def find_drive(folder: Path, options: DriveOptions) -> DataFiles:
    """Return the pictures of DRIVE: training/images/21_training.tif, 1st_manual/21_manual1.gif, mask/21_training_mask.gif."""
    folder = _place(folder, "DRIVE", "training")
    return pairs.found(folder, _drive(folder, options))


def read_drive(files: DataFiles, options: DriveOptions) -> Images:
    """Return the 20 official training pictures and the 20 test pictures."""
    return pairs.images(_drive(files.root, options), _CLASSES, _CODING)


def find_stare(folder: Path, options: StareOptions) -> DataFiles:
    """Return the pictures of STARE that the observer drew: stare-images/im0001.ppm.gz, labels-ah/im0001.ah.ppm.gz."""
    folder = _place(folder, "STARE", "stare-images")
    parts, left_out = _stare(folder, options)
    remarks = [f"{left_out} of the pictures have no mask of observer {options.observer}"] if left_out else []
    return pairs.found(folder, parts, remarks=remarks)


def read_stare(files: DataFiles, options: StareOptions) -> Images:
    """Return the first pictures as training set and the others as test set."""
    return pairs.images(_stare(files.root, options)[0], _CLASSES, _CODING)


def find_chase(folder: Path, options: ChaseOptions) -> DataFiles:
    """Return the pictures of CHASE_DB1: Image_01L.jpg, Image_01L_1stHO.png."""
    folder = _place(folder, "CHASEDB1", "Image_01L.jpg")
    return pairs.found(folder, _chase(folder, options))


def read_chase(files: DataFiles, options: ChaseOptions) -> Images:
    """Return the first pictures as training set and the others as test set; both eyes of a child belong together."""
    return pairs.images(_chase(files.root, options), _CLASSES, _CODING)


def find_hrf(folder: Path, options: HrfOptions) -> DataFiles:
    """Return the pictures of HRF: images/01_dr.JPG, manual1/01_dr.tif, mask/01_dr_mask.tif."""
    folder = _place(folder, "HRF", "manual1")
    return pairs.found(folder, _hrf(folder, options))


def read_hrf(files: DataFiles, options: HrfOptions) -> Images:
    """Return the first pictures of each kind as training set and the others as test set."""
    return pairs.images(_hrf(files.root, options), _CLASSES, _CODING)


def _place(folder: Path, name: str, inside: str) -> Path:
    """Return the folder of a set: the given one, or that of its name in it."""
    return folder / name if not (folder / inside).exists() and (folder / name / inside).exists() else folder


def _drive(folder: Path, options: DriveOptions) -> Parts:
    parts: dict[str, list[Pair]] = {}
    for part, name in (("train", "training"), ("test", "test")):
        place = folder / name
        parts[part] = []
        for picture in _pictures(place / "images", rf"\d+_{name}\.tif"):
            number = picture.name.partition("_")[0]
            observer = options.observer if part == "test" else 1
            drawn = place / ("1st_manual" if observer == 1 else "2nd_manual") / f"{number}_manual{observer}.gif"
            parts[part].append(Pair(picture, drawn, place / "mask" / f"{number}_{name}_mask.gif"))
    return parts


def _stare(folder: Path, options: StareOptions) -> tuple[Parts, int]:
    """Return the parts, and how many pictures the observer did not draw."""
    who = options.observer
    every = []
    pictures = _pictures(folder / "stare-images", r"im\d+\.ppm(\.gz)?")
    for picture in pictures:
        drawn = [folder / f"labels-{who}" / f"{picture.name.partition('.')[0]}.{who}.ppm{end}" for end in (".gz", "")]
        mask = next((each for each in drawn if each.is_file()), None)
        if mask is not None:
            every.append(Pair(picture, mask, picture if options.field_of_view else None, measured=options.field_of_view))
    if pictures and not every:
        raise DataMissing(f"{folder}: has no labels-{who}.")
    return _cut(folder, every, options.train), len(pictures) - len(every)


def _chase(folder: Path, options: ChaseOptions) -> Parts:
    ending = "1stHO" if options.observer == 1 else "2ndHO"
    every = [
        Pair(
            picture,
            picture.with_name(f"{picture.stem}_{ending}.png"),
            picture if options.field_of_view else None,
            measured=options.field_of_view,
            group=picture.stem[:-1],
        )
        for picture in _pictures(folder, r"Image_\d+[LR]\.jpg")
    ]
    return _cut(folder, every, options.train)


def _hrf(folder: Path, options: HrfOptions) -> Parts:
    parts: dict[str, list[Pair]] = {"train": [], "test": []}
    for kind in _HRF_KINDS:
        for index, picture in enumerate(_pictures(folder / "images", rf"\d+_{kind}\.(jpg|JPG)")):
            pair = Pair(picture, folder / "manual1" / f"{picture.stem}.tif", folder / "mask" / f"{picture.stem}_mask.tif")
            parts["train" if index < options.train else "test"].append(pair)
    return parts


def _pictures(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder whose names fit a pattern, by name; [] without the folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(pattern, path.name))


def _cut(folder: Path, every: list[Pair], train: int) -> Parts:
    if every and train >= len(every):
        raise DataError(
            f"{folder}: data.options.train is {train}, and there are {len(every)} pictures with a mask.",
            "leave one at least to be tested",
        )
    return {"train": every[:train], "test": every[train:]}
