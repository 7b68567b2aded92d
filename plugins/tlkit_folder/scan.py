"""List a folder's sub-folders and image files, by name alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tlkit.errors import DataError

# Compared in lower case; what else lies in a class folder is no image.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder, sorted; hidden names and other files are left out.

    Attributes:
        place: Device and inode of the folder, the same whichever link leads to it.
        folders: Names of sub-folders, links to folders among them.
        images: Names of image files.
    """

    place: tuple[int, int]
    folders: tuple[str, ...]
    images: tuple[str, ...]


def listing(folder: Path) -> Listing:
    """List one folder.

    Raises:
        DataError: it cannot be read, or an image in it is a link to nothing.
    """
    folders, images = [], []
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.lower().endswith(SUFFIXES):
                    if not entry.is_file():
                        raise DataError(f"{folder / entry.name}: is no file, or a link to nothing.")
                    images.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}.") from error
    return Listing((status.st_dev, status.st_ino), tuple(sorted(folders)), tuple(sorted(images)))


def images_below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> list[Path]:
    """Return all image files in a folder and its sub-folders, those directly in it first.

    Args:
        folder: Where to begin.
        above: Places of the folders that led here, to notice a link that leads back.

    Raises:
        DataError: a folder cannot be read, or a link leads back to a folder above it.
    """
    found = listing(folder)
    if found.place in above:
        raise DataError(f"{folder}: is a link back to a folder that holds it.", "remove the link")
    images = [folder / name for name in found.images]
    for name in found.folders:
        images += images_below(folder / name, (*above, found.place))
    return images
