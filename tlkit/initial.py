"""`tlkit init`: look at a folder of images and write a commented recipe for it. Imports no torch."""

from __future__ import annotations

import re
import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tlkit import datasets, files, registry, sources
from tlkit.errors import DataError, TlkitError
from tlkit.plugin import Backbone, Dataset, Images
from tlkit.sources import Places

_SAMPLE = 50  # images whose size is looked at
_FEW = 8  # images a class below which no fine-tuning is proposed


@dataclass(frozen=True)
class Look:
    """What a folder holds.

    Attributes:
        images: Classes and splits.
        least: Training images of the smallest class, and its name.
        most: Of the largest.
        short_side: Median over a sample, pixels.
        test_from: The sub-folder that holds the test images; "" where a fraction of every class is taken.
    """

    images: Images
    least: tuple[int, str]
    most: tuple[int, str]
    short_side: int
    test_from: str


def write(folder: Path, output: Path | None, *, force: bool) -> Path:
    """Write a recipe for a folder of images.

    Args:
        folder: Class sub-folders, or train, val, test with class sub-folders.
        output: The recipe; the folder's name + .toml in the working folder where not given.
        force: Replace a file that is there.

    Raises:
        DataError: the folder is not one of images in classes.
        TlkitError: the recipe exists already, or cannot be written.
    """
    path = output or Path(f"{folder.resolve().name or 'recipe'}.toml")
    if path.exists() and not force:
        raise TlkitError(f"{path}: is there already.", "another name, --output FILE, or --force to replace it")
    text = recipe_text(folder, look(folder), path)
    try:
        files.replace(path, text)
    except OSError as error:
        raise TlkitError(f"{path}: cannot be written: {error.strerror or error}.") from error
    return path


def look(folder: Path) -> Look:
    """Count a folder's images and measure a sample of them."""
    plugin = registry.get(Dataset, "folder")
    assert plugin.options is not None  # the first-party plugin has options
    options = plugin.options()
    found = sources.find_data("folder", plugin, options, Places(data=folder), fetch=False)
    images = datasets.read_data(plugin, found, options)
    train = images.splits["train"]
    counts = np.bincount(train.labels, minlength=len(images.classes))
    sample = train.files[:: max(len(train.files) // _SAMPLE, 1)][:_SAMPLE]
    sides = [side for file in sample if (side := _short_side(file)) is not None]
    if not sides:
        raise DataError(f"{folder}: none of {len(sample)} images looked at can be opened.", f"the first is {sample[0]}")
    least, most = int(counts.argmin()), int(counts.argmax())
    test_root = images.splits["test"].files[0].relative_to(folder).parts[0]
    test_from = "" if any(file.relative_to(folder).parts[0] == test_root for file in train.files) else test_root
    smallest, largest = (int(counts[least]), images.classes[least]), (int(counts[most]), images.classes[most])
    return Look(images, smallest, largest, int(statistics.median(sides)), "" if test_root in images.classes else test_from)


def recipe_text(folder: Path, seen: Look, path: Path) -> str:
    """Return the recipe, each choice with its reason from what was seen."""
    backbone, weights, size = _network(seen.short_side)
    train = len(seen.images.splits["train"].labels)
    splits = ", ".join(f"{len(split.labels):,} {name}" for name, split in seen.images.splits.items())
    batch = 32 if train >= 256 else 16 if train >= 64 else 8
    epochs = 5 if train >= 20_000 else 10 if train >= 1_000 else 15
    validation = (
        ""
        if "validation" in seen.images.splits
        else "\n[data.split]\nvalidation = 0.1  # of the training images, to choose the best epoch\n"
    )
    where = _relative(folder, path)
    (least, least_name), (most, most_name) = seen.least, seen.most
    uneven = most > 3 * least
    absolute = Path(where).is_absolute()
    note = (
        f"# Its folder {_one_line(seen.test_from)} is the test set here; validation images are taken from train.\n"
        if seen.test_from not in ("", "test") and validation
        else ""
    )
    fraction = (
        ""
        if seen.test_from
        else "test_fraction = 0.2  # of every class, by file name: pictures of one thing may fall on both sides\n"
    )
    warn = "# The classes are uneven: accuracy alone flatters the large ones.\n" if uneven else ""
    few = "# Few images a class: expect head_only to do as well as finetune.\n" if least < 10 * _FEW else ""
    return f"""\
# Which is better for these images: a new last layer on a trained network, or training all of it?
#
#   tlkit plan {_one_line(path)}
#   tlkit apply {_one_line(path)}
#
# Seen in {_one_line(folder)}: {len(seen.images.classes)} classes, {splits} images.
# The smallest class is {_one_line(least_name)} with {least:,} training images, the largest {_one_line(most_name)} with {most:,}.
# Their short side is {seen.short_side} pixels (median of a sample).
{note}{warn}{few}# Result: not measured yet.
format = 1
name = "{_name(folder)}"

[backbone]
name = "{backbone}"
weights = "{weights}"

[data]
name = "folder"
image_size = {size}  # pixels; larger is slower, by its square, and usually better
batch_size = {batch}
augment = ["random_crop", "hflip"]  # leave out hflip where left and right mean something

[data.options]
path = {_quoted(where)}  # {"not below this recipe, so it holds on this machine only" if absolute else "relative to this file"}
{fraction}{validation}
[lr_groups]  # peak rates: what is trained already moves slowly, the new head fast
backbone = 1e-4
head = 1e-3

[optimizer]
name = "adamw"

[schedule]
name = "one_cycle"
epochs = {epochs}

[arms.head_only]
freeze = {{ backbone = true }}

[arms.finetune]
"""


def _network(short_side: int) -> tuple[str, str, int]:
    """A backbone whose weights can be had here, and the size its input is best given."""
    size = 224 if short_side >= 160 else 128 if short_side >= 96 else 96 if short_side >= 48 else 64
    if any(entry.name == "efficientnet_lite0" for entry in registry.entries(Backbone)):
        return "efficientnet_lite0", "imagenet", size
    return "resnet18", "imagenet1k-v1", size


def _short_side(file: Path) -> int | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return min(image.size)
    except Exception:  # whatever Pillow raises for a file that is no image; apply names it with its path
        return None


def _name(folder: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in folder.resolve().name).strip("-._")
    return kept[:80] or "images"


def _relative(folder: Path, path: Path) -> str:
    try:
        return folder.resolve().relative_to(path.resolve().parent).as_posix() or "."
    except ValueError:
        return str(folder.resolve())


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON takes as it is, and TOML does not


def _one_line(text: object) -> str:
    """Text for a comment: what TOML forbids there, and what no UTF-8 can hold, as Python escapes it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], str(text))
