"""Masks as data: the file that says the class of every pixel of a picture. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

IGNORED = 255  # the class number of pixels that count for nothing

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskCoding:
    """How the content of mask files becomes class numbers; all masks of a data set share one. `IGNORED` is a class number too.

    Attributes:
        values: Value of a pixel, or its place in the file's palette -> class number. Empty: values are class numbers already.
        colours: Colour of a pixel -> class number, for files that are read as colours; empty for values.
        shapes: Name of a shape -> class number, for files of polygons; what no shape covers is class 0.
        rest: Class number of every other value, colour or shape; None refuses them.
    """

    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    shapes: Mapping[str, int] = field(default_factory=dict)
    rest: int | None = None


@dataclass(frozen=True)
class MaskFile:
    """The mask of one picture, in a file of its own.

    Attributes:
        path: The file: an image of one value for each pixel, an image of colours, or polygons.
        coding: How its content becomes class numbers.
        field_of_view: An image that is bright where the camera saw something; pixels outside are ignored. None: all count.
        measured: `field_of_view` is the picture itself, and the bright disc in it is measured.
    """

    path: Path
    coding: MaskCoding = MaskCoding()
    field_of_view: Path | None = None
    measured: bool = False
