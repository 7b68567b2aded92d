"""List a folder's sub-folders and image files; a file is opened only where its suffix says nothing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tlkit.errors import DataError
from tlkit.plugin import image_kinds

# Folders that programs leave among images: what macOS adds to archives, and thumbnails of a Synology disk station.
_FOREIGN = ("__MACOSX", "@eaDir")


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder, sorted; hidden names and files that are known to be no images are left out.

    Attributes:
        place: Device and inode of the folder, the same whichever link leads to it.
        folders: Names of sub-folders, links to folders among them.
        images: Names of image files.
        left_out: Suffixes, in lower case, of files that may hold pictures and cannot be decoded, one each.
    """

    place: tuple[int, int]
    folders: tuple[str, ...]
    images: tuple[str, ...]
    left_out: tuple[str, ...]


def listing(folder: Path, *, bands: bool = False) -> Listing:
    """List one folder.

    Args:
        folder: Which.
        bands: Images are files of bands, .npy and TIFF.

    Raises:
        DataError: it cannot be read, or an image in it is a link to nothing.
    """
    folders, images, left_out = [], [], []
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _FOREIGN:
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()
                kind = (image_kinds.kind_of_bands if bands else image_kinds.kind_of_suffix)(suffix)
                kind = kind or image_kinds.kind(folder / entry.name)
                if kind is image_kinds.Kind.LEFT_OUT:
                    left_out.append(suffix)
                elif kind is image_kinds.Kind.IMAGE:
                    if not entry.is_file():
                        raise DataError(f"{folder / entry.name}: is no file, or a link to nothing.")
                    images.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}.") from error
    return Listing((status.st_dev, status.st_ino), tuple(sorted(folders)), tuple(sorted(images)), tuple(left_out))


def blocks_below(
    folder: Path, above: tuple[tuple[int, int], ...] = (), *, left_out: Counter[str] | None = None, bands: bool = False
) -> list[tuple[Path, tuple[str, ...]]]:
    """Return the folders below one that hold image files, itself first, with the names of these files.

    Args:
        folder: Where to begin.
        above: Places of the folders that led here, to notice a link that leads back.
        left_out: Counts, by suffix, the files that cannot be read as images.
        bands: As for `listing`.

    Raises:
        DataError: a folder cannot be read, or a link leads back to a folder above it.
    """
    found = listing(folder, bands=bands)
    if found.place in above:
        raise DataError(f"{folder}: is a link back to a folder that holds it.", "remove the link")
    if left_out is not None:
        left_out.update(found.left_out)
    blocks = [(folder, found.images)] if found.images else []
    for name in found.folders:
        blocks += blocks_below(folder / name, (*above, found.place), left_out=left_out, bands=bands)
    return blocks


def images_below(folder: Path, *, bands: bool = False) -> list[Path]:
    """Return all image files in a folder and its sub-folders, those directly in it first; the arguments and errors are those of `blocks_below`."""
    return [place / name for place, names in blocks_below(folder, bands=bands) for name in names]
