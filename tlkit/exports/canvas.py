"""The canvas of pictures of any size in operations of torch, for graphs of heads that answer for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlkit.engine.images.geometry import Geometry


class Canvas(nn.Module):
    """Put pictures on a canvas of whole strides, in its upper left corner, as `tlkit predict` does.

    Args:
        geometry: Of the pictures.
        stride: Of the network's deepest map, pixels.
    """

    def __init__(self, geometry: Geometry, stride: int) -> None:
        super().__init__()
        self.stride = stride
        padding = torch.tensor(geometry.padding or (0.0,) * geometry.shape[2], dtype=torch.float32)
        self.register_buffer("padding", padding.view(1, -1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, channels, height, width) float32 of pictures (N, H, W, channels), in whole strides."""
        x = pictures.permute(0, 3, 1, 2).to(torch.float32)
        rows, columns = ((side + self.stride - 1) // self.stride for side in x.shape[2:])
        below, right = rows * self.stride - x.shape[2], columns * self.stride - x.shape[3]
        padding = self.get_buffer("padding")  # the padding's colour is 0 beside the pictures
        return nn.functional.pad(x - padding, (0, right, 0, below)) + padding


def cropped(x: Tensor, height: int, width: int) -> Tensor:
    """Return the upper left corner of maps (N, C, H, W). A slice would be left out of a graph where it takes the whole of its example."""
    for axis, side in ((2, height), (3, width)):
        x = x.index_select(axis, torch.arange(side, device=x.device))
    return x
