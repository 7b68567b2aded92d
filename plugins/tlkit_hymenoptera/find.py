"""Find the tutorial's folder."""

from pathlib import Path

from tlkit.errors import DataMissing
from tlkit.plugin import DataFiles
from tlkit_folder.read import find as folder_of


def find(folder: Path, options: None = None) -> DataFiles:
    """Return the images of train/ants, train/bees, val/ants and val/bees; val is the test set, as in the tutorial.

    Raises:
        DataMissing: the folder has no such sub-folders.
    """
    if not all((folder / part / name).is_dir() for part in ("train", "val") for name in ("ants", "bees")):
        raise DataMissing(f"{folder}: has no train/ants, train/bees, val/ants and val/bees.")
    return folder_of(folder)
