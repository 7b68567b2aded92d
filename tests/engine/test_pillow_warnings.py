"""What Pillow warns of is a line of ours, and no warning of Python's."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit.engine.images import pillow_warnings
from tlkit.engine.images.geometry import Geometry
from tlkit.engine.images.pictures import Pictures
from tlkit.plugin import Split

_SHORT_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"  # says that it has five entries, and ends in the first


def test_damaged_exif_is_a_line_and_the_picture_is_decoded(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{number}.jpg" for number in range(3))
    for file in files:
        Image.new("RGB", (8, 8), (200, 0, 0)).save(file, exif=_SHORT_EXIF)
    notes: list[str] = []
    pictures = Pictures(Split(np.zeros(3, np.int64), files), Geometry((8, 8), (8, 8), "bilinear"), note=notes.append)
    assert pictures.prepare(np.arange(3), progress=lambda done, total: None) == {}
    (line,) = notes
    assert line.startswith("an image file is damaged or unusual")
    assert "Corrupt EXIF data" in line


def test_warning_of_another_library_is_passed_on() -> None:
    with pytest.warns(UserWarning, match="mine"), pillow_warnings.reported(pytest.fail):
        warnings.warn("mine", UserWarning, stacklevel=1)
