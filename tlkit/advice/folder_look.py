"""Look at a folder of images, before a recipe is written for it: classes, counts, sizes, and what cannot be used. Imports no torch."""

from __future__ import annotations

import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit import tasks
from tlkit.errors import DataError
from tlkit.plans import dataset_facts
from tlkit.plugin import Dataset, Images, registry
from tlkit.recipe.tables import MAX_PIXELS
from tlkit.sources import data_files, datasets, image_files
from tlkit.sources.places import Places

_SAMPLE = 50  # images whose size is looked at


@dataclass(frozen=True)
class Look:
    """What was found in a folder of images.

    Attributes:
        images: Classes and splits.
        least: Training images of the smallest class, and its name.
        most: Of the largest.
        short_side: Median over a sample, pixels.
        test_from: The sub-folder that holds the test images; "" where a fraction of every class is taken.
        warnings: Files that are not used or cannot be read, in words.
    """

    images: Images
    least: tuple[int, str]
    most: tuple[int, str]
    short_side: int
    test_from: str
    warnings: tuple[str, ...] = ()


def look(folder: Path) -> Look:
    """Count a folder's images and measure a sample of them."""
    plugin = registry.get(Dataset, "folder")
    assert plugin.options is not None  # the first-party plugin has options
    options = plugin.options()
    found = data_files.find_data("folder", plugin, options, Places(data=folder), fetch=False)
    images = datasets.read_data(plugin, found, options)
    train = images.splits["train"]
    counts = np.array(tasks.understanding(train.targets)[0].targets.count(train.targets, len(images.classes)))
    sample = train.files[:: max(len(train.files) // _SAMPLE, 1)][:_SAMPLE]
    sides = [side for file in sample if (side := _short_side(file)) is not None]
    if not sides:
        raise DataError(f"{folder}: none of {len(sample)} images looked at can be opened.", f"the first is {sample[0]}")
    least, most = int(counts.argmin()), int(counts.argmax())
    test_root = images.splits["test"].files[0].relative_to(found.root).parts[0]
    test_from = "" if any(file.relative_to(found.root).parts[0] == test_root for file in train.files) else test_root
    smallest, largest = (int(counts[least]), images.classes[least]), (int(counts[most]), images.classes[most])
    every = [file for split in images.splits.values() for file in split.files]
    problem = image_files.unreadable(every, max_pixels=MAX_PIXELS, on_corrupt="error")
    return Look(
        images, smallest, largest, int(statistics.median(sides)), "" if test_root in images.classes else test_from,
        (*dataset_facts.unused(found), *filter(None, [problem])),
    )  # fmt: skip


def _short_side(file: Path) -> int | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image_files.opened(file) as image:
                return min(image.size)
    except Exception:  # whatever Pillow raises for a file that is no image; apply names it with its path
        return None
