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

    On a CUDA device it is one difference and one product, two passes over a batch instead of four, and differs by rounding alone.

    Args:
        convention: How the weights want pixels.
        device: The device that pictures are on.
    """

    def __init__(self, convention: Convention, device: torch.device) -> None:
        self._convention = convention
        self._apply = self._folded if device.type == "cuda" else self._divided
        constants = folded(convention) if device.type == "cuda" else (convention.mean, convention.std)
        self._first, self._second = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None] for values in constants
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return (n, channels, H, W) float32 of pictures (n, H, W, 3) uint8 RGB, or (n, H, W, bands) uint8 or float32."""
        if self._convention.channels == "bgr":
            pictures = pictures.flip(3)
        return self._apply(pictures.permute(0, 3, 1, 2))  # (n, channels, H, W), channels_last

    def _divided(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32, copy=True)
        return x.div_(255 / self._convention.range).sub_(self._first).div_(self._second)

    def _folded(self, x: Tensor) -> Tensor:
        return (x - self._first).mul_(self._second)


def folded(convention: Convention) -> tuple[list[float], list[float]]:
    """Return what is subtracted from the pixels of each channel, and what they are multiplied by then.

    In this order nothing is lost where the mean is many times the standard deviation, as of bands.
    """
    whole = 255 / convention.range
    return [mean * whole for mean in convention.mean], [1 / (whole * std) for std in convention.std]
