"""Find a set's files by torchvision's layout. Imports no torch."""

from functools import partial
from pathlib import Path

from tlkit.errors import DataMissing
from tlkit.plugin import DataFiles
from tlkit_folder.scan import images_below
from tlkit_torchvision.sets import SETS


def _find(name: str, folder: Path, options: None = None) -> DataFiles:
    """Return the files that say what the images are, and then the images.

    Raises:
        DataMissing: one of them is not there.
    """
    found = SETS[name]
    missing = [each for each in found.needs if not (folder / each).exists()]
    if missing:
        raise DataMissing(f"{folder}: has no {', '.join(missing)}.")
    listed = [folder / each for each in found.needs if each != found.images]
    return DataFiles(folder, (*listed, *(images_below(folder / found.images) if found.images else ())))


oxford_pets = partial(_find, "oxford_pets")
flowers102 = partial(_find, "flowers102")
dtd = partial(_find, "dtd")
svhn = partial(_find, "svhn")
stl10 = partial(_find, "stl10")
food101 = partial(_find, "food101")
