"""Draw the polygons that labelme writes, as the classes of a picture's pixels. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tlkit.errors import ImageError, first_few, nearest
from tlkit.plugin.masks import MaskCoding
from tlkit.recipe.tables import MAX_PIXELS

_KINDS = ("polygon", "rectangle", "circle")


def drawn(path: Path, content: bytes, coding: MaskCoding) -> NDArray[np.uint8]:
    """Return class numbers (H, W): a later shape covers an earlier one, and what none covers is class 0.

    Args:
        path: The file, for messages.
        content: Its content, JSON with imageHeight, imageWidth and shapes, each with a label and points.
        coding: Of the labels.

    Raises:
        ImageError: it is no such file, or a shape's label is no class.
    """
    try:
        said = json.loads(content)
        size = int(said["imageWidth"]), int(said["imageHeight"])
        shapes = [(str(each["label"]), str(each.get("shape_type") or "polygon"), _points(each)) for each in said["shapes"]]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ImageError(
            f"{path}: is no file of polygons as labelme writes them: {error!r}.",
            "JSON with imageHeight, imageWidth and shapes, each with label and points",
        ) from error
    if min(size) < 1 or math.prod(size) > MAX_PIXELS:
        raise ImageError(f"{path}: is of a picture of {size[0]:,} x {size[1]:,} pixels.", f"1 to {MAX_PIXELS:,}")
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    for label, kind, points in shapes:
        number = coding.shapes.get(label, coding.rest)
        if number is None:
            raise ImageError(
                f'{path}: has a shape "{label}", which is no class.',
                f"classes: {first_few(coding.shapes)}",
                nearest(label, coding.shapes),
            )
        _draw(draw, path, kind, points, number)
    return np.asarray(image).copy()


def _points(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a point is not finite")
    return points


def _draw(draw: ImageDraw.ImageDraw, path: Path, kind: str, points: list[tuple[float, float]], number: int) -> None:
    if kind == "polygon" and len(points) >= 3:
        draw.polygon(points, fill=number)
    elif kind == "rectangle" and len(points) == 2:
        (left, right), (top, bottom) = (sorted(each) for each in zip(*points, strict=True))
        draw.rectangle((left, top, right, bottom), fill=number)
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points[0], math.dist(*points)
        draw.ellipse((x - edge, y - edge, x + edge, y + edge), fill=number)
    else:
        raise ImageError(
            f"{path}: has a {kind} of {len(points)} points, which covers no area.", f"shapes that do: {', '.join(_KINDS)}"
        )
