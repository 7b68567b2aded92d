"""The picture in the tokens of a vision transformer.

A stage that gives tokens, a column (N, C, tokens, 1), says where the picture is in them by `patches`; a head of maps is given the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlkit.plans.packing import Shape
from tlkit.units import Size

_NAME = "patches"  # the stage's attribute


@dataclass(frozen=True)
class Patches:
    """Which part of the picture each token is of.

    Attributes:
        size: Height and width of a patch, pixels.
        before: Tokens before those of the patches, such as the class token.
    """

    size: Size
    before: int


def mark_patches_(stage: nn.Module, patches: Patches) -> None:
    """Say where the picture is in a stage's output, which is tokens."""
    setattr(stage, _NAME, patches)


def picture(stage: nn.Module, output: Tensor, size: Size) -> Tensor:
    """Return the output of a stage as a picture (N, C, h, w): tokens row by row, without those before; any other output as it is.

    Args:
        stage: That gave it.
        output: (N, C, tokens, 1), or anything of a stage without `patches`.
        size: Height and width of the images, pixels.
    """
    patches = getattr(stage, _NAME, None)
    if not isinstance(patches, Patches) or output.ndim != 4:
        return output
    rows, columns = size[0] // patches.size[0], size[1] // patches.size[1]
    return output[:, :, patches.before :].reshape(len(output), -1, rows, columns)


def picture_shape(stage: nn.Module, output: Shape, size: Size) -> Shape:
    """Return the shape of `picture` for one image."""
    return tuple(picture(stage, torch.empty(1, *output, device="meta"), size).shape[1:])
