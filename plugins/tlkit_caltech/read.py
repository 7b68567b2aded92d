"""Find and read 101_ObjectCategories, a folder per class."""

from pathlib import Path

from tlkit.errors import DataMissing
from tlkit.plugin import DataFiles, Images
from tlkit_caltech import CaltechOptions
from tlkit_folder import FolderOptions
from tlkit_folder import read as folders

_FOLDER, _BACKGROUND = "101_ObjectCategories", "BACKGROUND_Google"
_SOME = ("accordion", "yin_yang")  # by which the folder is known under another name


def find(folder: Path, options: CaltechOptions | None = None) -> DataFiles:
    """Return the images of 101_ObjectCategories, which is the folder or lies in it.

    Raises:
        DataMissing: it is not there.
    """
    for place in (folder / _FOLDER, folder):
        if all((place / name).is_dir() for name in _SOME):
            found = folders.find(place)
            used = (options or CaltechOptions()).background
            return DataFiles(
                place, tuple(file for file in found.files if used or file.relative_to(place).parts[0] != _BACKGROUND)
            )
    raise DataMissing(f"{folder}: has no {_FOLDER}.")


def read(found: DataFiles, options: CaltechOptions | None = None) -> Images:
    """Return the classes by name, with a test set that is split off by file names."""
    return folders.read(found, FolderOptions(test_fraction=(options or CaltechOptions()).test_fraction))
