"""Vessels of the retina in the official layouts of four cameras' sets: DRIVE, STARE, CHASE_DB1, HRF."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tlkit.errors import DataError, DataMissing
from tlkit.plugin import MaskCoding, Options
from tlkit_masks import ChaseOptions, DriveOptions, HrfOptions, StareOptions
from tlkit_masks.pairs import Layout, Pair, Parts

_CLASSES = ("background", "vessel")
# DRIVE's second observer drew in 3 and 253, the others in 0 and 255, or 1.
_CODING = MaskCoding({0: 0, 3: 0, 1: 1, 253: 1, 255: 1})
_HRF_KINDS = ("h", "g", "dr")


def _place(name: str, inside: str, folder: Path, options: Options) -> Path:
    """Return the folder of a set: the given one, or that of its name in it."""
    return folder / name if not (folder / inside).exists() and (folder / name / inside).exists() else folder


def _drive(folder: Path, options: DriveOptions) -> Parts:
    """Return the official parts: training/images/21_training.tif, 1st_manual/21_manual1.gif, mask/21_training_mask.gif."""
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


def _stare(folder: Path, options: StareOptions) -> Parts:
    """Return the first pictures that the observer drew, and the others: stare-images/im0001.ppm.gz, labels-ah/im0001.ah.ppm.gz."""
    pictures = _stare_masks(folder, options)
    every = [
        Pair(picture, mask, picture if options.field_of_view else None, measured=options.field_of_view)
        for picture, mask in pictures.items()
        if mask is not None
    ]
    if pictures and not every:
        raise DataMissing(f"{folder}: has no labels-{options.observer}.")
    return _cut(folder, every, options.train)


def _stare_remarks(folder: Path, options: StareOptions) -> list[str]:
    left_out = list(_stare_masks(folder, options).values()).count(None)
    return [f"{left_out} of the pictures have no mask of observer {options.observer}"] if left_out else []


def _stare_masks(folder: Path, options: StareOptions) -> dict[Path, Path | None]:
    """Return the mask of each picture; None of one that the observer did not draw."""
    who, found = options.observer, {}
    for picture in _pictures(folder / "stare-images", r"im\d+\.ppm(\.gz)?"):
        drawn = [folder / f"labels-{who}" / f"{picture.name.partition('.')[0]}.{who}.ppm{end}" for end in (".gz", "")]
        found[picture] = next((each for each in drawn if each.is_file()), None)
    return found


def _chase(folder: Path, options: ChaseOptions) -> Parts:
    """Return the first pictures and the others: Image_01L.jpg, Image_01L_1stHO.png; both eyes of a child belong together."""
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
    """Return the first pictures of each kind and the others: images/01_dr.JPG, manual1/01_dr.tif, mask/01_dr_mask.tif."""
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


_DRIVE = Layout(_drive, _CLASSES, _CODING, partial(_place, "DRIVE", "training"))
_STARE = Layout(_stare, _CLASSES, _CODING, partial(_place, "STARE", "stare-images"), _stare_remarks)
_CHASE = Layout(_chase, _CLASSES, _CODING, partial(_place, "CHASEDB1", "Image_01L.jpg"))
_HRF = Layout(_hrf, _CLASSES, _CODING, partial(_place, "HRF", "manual1"))
find_drive, read_drive = _DRIVE.find, _DRIVE.read
find_stare, read_stare = _STARE.find, _STARE.read
find_chase, read_chase = _CHASE.find, _CHASE.read
find_hrf, read_hrf = _HRF.find, _HRF.read
