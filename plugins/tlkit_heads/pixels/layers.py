"""Layers that several heads of maps have."""

from torch import Tensor, nn

Size = tuple[int, int]


def enlarged(x: Tensor, size: Size, *, corners: bool = True) -> Tensor:
    """Resize maps (N, C, h, w) bilinearly to a height and width.

    Args:
        x: The maps.
        size: Height and width.
        corners: The centres of the corners of both are at one place, not the corners themselves.
    """
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=corners)
