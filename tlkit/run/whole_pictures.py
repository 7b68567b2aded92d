"""Whole pictures of any size as input of a network whose answers say where something is: scaled as the run's were, on a canvas of whole strides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import Geometry, fitted
from tlkit.engine.images.normalisation import normalise
from tlkit.engine.images.pictures import as_tensor
from tlkit.plugin import Convention
from tlkit.sources import scaling, stacks
from tlkit.units import Size


@dataclass(frozen=True)
class WholePicture:
    """One picture, ready for the network.

    Attributes:
        size: Height and width of the picture.
        small: Height and width of what it covers of the canvas.
        x: (1, channels, H, W) the canvas, normalised.
        picture: (H, W, 3) uint8; None of bands.
    """

    size: Size
    small: Size
    x: Tensor
    picture: NDArray[np.uint8] | None


def placed(
    path: stacks.Picture | NDArray[Any], *, geometry: Geometry, convention: Convention, stride: int, device: torch.device
) -> WholePicture:
    """Return a picture on a canvas of its own.

    Args:
        path: The picture's file, or its pixels.
        geometry: How the run's pictures are scaled.
        convention: How pixels reach the network.
        stride: Of the deepest map that the network's head reads.
        device: Where to.

    Raises:
        DataError: it cannot be decoded.
    """
    image = decode.whole(path, geometry)
    size = (image.height, image.width) if isinstance(image, Image.Image) else (int(image.shape[0]), int(image.shape[1]))
    factor = geometry.scale
    if isinstance(image, Image.Image):
        factor = scaling.factor(image, geometry.field_of_view, factor)
    small = scaling.scaled(size, factor)
    canvas = scaling.whole_strides(small, stride)
    pixels = fitted(image, replace(geometry, size=canvas, resized=canvas))
    x = normalise(as_tensor(np.array(pixels[None])).to(device), convention).contiguous()
    return WholePicture(size, small, x, np.asarray(image) if isinstance(image, Image.Image) else None)
