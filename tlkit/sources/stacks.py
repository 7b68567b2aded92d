"""TIFF files with several pictures, one on each page: stacks, as microscopes write them. Imports no torch.

The rule: a page is read from the file itself, so that its tags say what its values mean.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tlkit.plugin import ImageFile
from tlkit.sources import image_files

_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class Page:
    """One picture of a stack.

    Attributes:
        file: The stack.
        number: Place of the page in the file, from 0.
    """

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}, page {self.number + 1}"

    def __fspath__(self) -> str:
        return str(self)

    def opened(self) -> Image.Image:
        """Open the file with Pillow, at this page.

        Raises:
            Exception: whatever Pillow raises.
        """
        with image_files.without_limit():
            image = Image.open(self.file)
            try:
                image.seek(self.number)
            except BaseException:
                image.close()
                raise
            return image


Picture = ImageFile | Page


def opened(paths: Sequence[Path]) -> list[Path | Page]:
    """Return files, and in the place of each stack its pages; what cannot be read stays as it is."""
    return [each for path in paths for each in _pages(path)]


def _pages(path: Path) -> Sequence[Path | Page]:
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        return [path]
    with suppress(Exception), image_files.opened(path) as image:  # decoding names it
        pages = image_files.pages(image)
        return [path] if len(pages) == 1 else [Page(path, number) for number in pages]
    return [path]
