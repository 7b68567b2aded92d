"""Look at a folder of images, before a recipe is written for it: classes, counts, sizes, and what cannot be used. Imports no torch."""

from __future__ import annotations

import os
import statistics
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import tasks
from tlkit.errors import DataError, ImageError, RecipeError
from tlkit.plans import band_values, dataset_facts
from tlkit.plugin import Dataset, Images, Values, image_kinds, registry
from tlkit.recipe import parsing
from tlkit.recipe.tables import MAX_PIXELS, MOST_CHANNELS
from tlkit.sources import band_files, class_names, data_files, datasets, image_files
from tlkit.sources.places import Places

_SAMPLE = 50  # images whose size and number of bands are looked at


@dataclass(frozen=True)
class Look:
    """What was found in a folder of images.

    Attributes:
        images: Classes and splits.
        least: Training images of the smallest class, and its name.
        most: Of the largest.
        short_side: Median over a sample, pixels.
        test_from: The sub-folder that holds the test images; "" where a fraction of every class is taken.
        warnings: Classes of nearly the same name, files that are not used or cannot be read, in words.
        bands: How many bands the images have; None of colour pictures.
        values: Type of their values.
        splits: Which folder is which split, where that was given.
    """

    images: Images
    least: tuple[int, str]
    most: tuple[int, str]
    short_side: int
    test_from: str
    warnings: tuple[str, ...] = ()
    bands: int | None = None
    values: Values = "uint8"
    splits: Mapping[str, str] | None = None


def look(folder: Path, splits: Mapping[str, Any] | None = None) -> Look:
    """Count a folder's images and measure a sample of them; `splits` says which folder is which split, where names do not.

    Raises:
        DataError: the folder is not one of images in classes, or `splits` does not fit it.
    """
    plugin = registry.get(Dataset, "folder")
    bands = _bands(folder)
    given = {"channels": bands, "splits": splits}
    try:
        given = {name: value for name, value in given.items() if value is not None}
        options = parsing.options(plugin.options, given, place="data.options")
    except RecipeError as error:
        raise DataError(error.problem, *error.hints) from error
    found = data_files.find_data("folder", plugin, options, Places(data=folder), fetch=False)
    images = datasets.read_data(plugin, found, options)
    train = images.splits["train"]
    counts = np.array(tasks.understanding(train.targets)[0].targets.count(train.targets, len(images.classes)))
    sample = train.files[:: max(len(train.files) // _SAMPLE, 1)][:_SAMPLE]
    sides = [side for file in sample if (side := _short_side(Path(file), bands)) is not None]
    if not sides:
        raise DataError(f"{folder}: none of {len(sample)} images looked at can be opened.", f"the first is {sample[0]}")
    least, most = int(counts.argmin()), int(counts.argmax())
    test_root = Path(images.splits["test"].files[0]).relative_to(found.root).parts[0]
    test_from = "" if any(Path(file).relative_to(found.root).parts[0] == test_root for file in train.files) else test_root
    smallest, largest = (int(counts[least]), images.classes[least]), (int(counts[most]), images.classes[most])
    every = [file for split in images.splits.values() for file in split.files]
    values = band_values.first_values(train.files) if bands is not None else "uint8"
    problem = image_files.unreadable(every, max_pixels=MAX_PIXELS, on_corrupt="error", bands=bands, values=values)
    return Look(
        images, smallest, largest, int(statistics.median(sides)), "" if test_root in images.classes else test_from,
        (*class_names.alike(images.classes), *dataset_facts.unused(found), *filter(None, [problem])), bands, values, splits,
    )  # fmt: skip


def _bands(folder: Path) -> int | None:
    """Return how many bands most images in a folder have; None where they are colour pictures, or where that cannot be told.

    A folder that holds pictures of any other kind than arrays and TIFF files is one of colour pictures.
    """
    files: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith("."):
                files.setdefault(os.path.splitext(name)[1].lower(), []).append(Path(place, name))
    images = {suffix for suffix in files if image_kinds.kind_of_suffix(suffix) is image_kinds.Kind.IMAGE}
    if images - set(image_kinds.BAND_SUFFIXES):
        return None
    some = next((files[suffix] for suffix in image_kinds.BAND_SUFFIXES if suffix in files), [])
    counts: Counter[int | None] = Counter()
    for file in some[:: max(len(some) // _SAMPLE, 1)][:_SAMPLE]:
        with suppress(ImageError):  # a file that cannot be read is named where all of them are looked at
            counts[_bands_of(file)] += 1
    return counts.most_common(1)[0][0] if counts else None


def _bands_of(file: Path) -> int | None:
    """Return how many bands a file has; None of colours or grey.

    An array has bands, on the shorter of its first and last axis. So has a TIFF file that Pillow has no mode for: of more than one page or
    sample, unless these are 3 or 4 of bytes.

    Raises:
        ImageError: it cannot be read.
    """
    found = band_files.header(file)
    count = min([found.shape[axis] for axis in found.axes] or [1])
    if file.suffix.lower() != ".npy" and (count == 1 or (found.values == "uint8" and count in (3, 4))):
        return None
    return count if count <= MOST_CHANNELS else None


def _short_side(file: Path, bands: int | None) -> int | None:
    try:
        if bands is not None:
            found = band_files.header(file)
            return min(found.size(band_files.band_axis(file, found, bands)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image_files.opened(file) as image:
                return min(image.size)
    except Exception:  # whatever Pillow raises for a file that is no image; apply names it with its path
        return None
