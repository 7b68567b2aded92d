"""Normalise pixels as the pretrained weights want them."""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.plugin import Convention


def normalise(pictures: Tensor, convention: Convention) -> Tensor:
    """Normalise pixels as the weights want them.

    Args:
        pictures: (n, H, W, 3) uint8 RGB, or (n, H, W, bands) uint8 or float32.
        convention: How the weights want pixels.

    Returns:
        (n, channels, H, W) float32 in channels_last memory format, (v * range / 255 - mean) / std.
    """
    return Normaliser(convention, pictures.device)(pictures)


class Normaliser:
    """`normalise` for many batches, whose constants are on the device once.

    Args:
        convention: How the weights want pixels.
        device: The device that pictures are on.
    """

    def __init__(self, convention: Convention, device: torch.device) -> None:
        self._convention = convention
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in (convention.mean, convention.std)
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return (n, channels, H, W) float32 of pictures (n, H, W, 3) uint8 RGB, or (n, H, W, bands) uint8 or float32."""
        if self._convention.channels == "bgr":
            pictures = pictures.flip(3)
        x = pictures.permute(0, 3, 1, 2).to(torch.float32, copy=True)  # (n, channels, H, W), channels_last
        return x.div_(255 / self._convention.range).sub_(self._mean).div_(self._std)
