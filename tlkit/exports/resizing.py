"""Pillow's resize in operations of torch, for graphs that take pictures of any size.

The rule: the same bytes as Pillow. It resizes along one side and then along the other, with coefficients in units of 2^-22, and rounds
and clips to bytes after each. Sums of such coefficients times bytes are whole numbers below 2^53, so float64 holds them exactly.
A coefficient that lies between two units can be rounded the other way, so a few bytes in 10,000 differ by 1.
Bands of uint16 and float32 are resized as float32, with coefficients that are not rounded, and uint16 is rounded at the end.

Source: Pillow, src/libImaging/Resample.c: precompute_coeffs, normalize_coeffs_8bpc, ImagingResampleHorizontal_8bpc and _32bpc. Which side
comes first was found by trying Pillow 13.0: the height, where it loses more than twice the pixels that the width does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlkit.engine.images.geometry import Geometry

_UNIT = float(1 << 22)  # coefficients are whole multiples of 1 / _UNIT: PRECISION_BITS
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}  # pixels on either side that a filter reads


@dataclass(frozen=True)
class _Axis:
    """How one side of a picture is resized.

    Attributes:
        places: (n,) float64, the positions 0 to n - 1 of the picture's pixels.
        resized: 0-d, the side after the resize.
        start: 0-d, the position in the resized picture at which the result begins; negative where padding comes first.
        side: The side of the result.
    """

    places: Tensor
    resized: Tensor
    start: Tensor
    side: int

    @property
    def positions(self) -> Tensor:
        """The positions (side,) of the result's pixels in the resized picture."""
        return torch.arange(self.side, dtype=torch.float64, device=self.places.device) + self.start

    @property
    def inside(self) -> Tensor:
        """Which of them (side,) lie in the resized picture; the others are padding."""
        return (self.positions >= 0) & (self.positions < self.resized)

    def coefficients(self, name: str) -> Tensor:
        """Return what each pixel of the result (side, n) takes of each pixel of the picture: a row has the sum 1."""
        count = _length(self.places)
        scale = count / self.resized
        centres = (self.positions + 0.5) * scale
        stretched = torch.clamp(scale, min=1.0)
        support = _SUPPORT[name] * stretched
        first = torch.clamp(torch.floor(centres - support + 0.5), min=0.0)[:, None]
        end = torch.minimum(torch.floor(centres + support + 0.5), count)[:, None]
        offsets = (self.places - centres[:, None] + 0.5) * (1.0 / stretched)  # (side, n)
        read = (self.places >= first) & (self.places < end)
        values = torch.where(read, _FILTERS[name](torch.abs(offsets)), torch.zeros_like(offsets))
        return values / values.sum(1, keepdim=True)


class Resize(nn.Module):
    """Bring pictures to the size of a network's input as `decode.picture` does.

    Args:
        geometry: Of the pictures.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        padding = torch.tensor(geometry.padding or (0.0,) * geometry.shape[2], dtype=torch.float64)
        self.register_buffer("padding", padding.view(1, -1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, channels, height, width) float64 of pictures (N, H, W, channels): of uint8 and uint16 whole numbers."""
        down, across = self._axes(pictures)
        x = pictures.permute(0, 3, 1, 2).to(torch.float64)  # (N, channels, H, W)
        x = self._passes(x, down, across)  # (N, channels, height, width)
        if self.geometry.fit != "pad":
            return x
        return torch.where(down.inside[:, None] & across.inside, x, self.get_buffer("padding"))

    def _passes(self, x: Tensor, down: _Axis, across: _Axis) -> Tensor:
        """Resize (N, channels, H, W) along both sides."""
        shares = down.coefficients(self.geometry.resize), across.coefficients(self.geometry.resize)
        match self.geometry.values:
            case "uint8":
                return _of_bytes(x, _units(shares[0]), _units(shares[1]), height_first=_loses_more(down, across))
            case "uint16":
                return torch.clamp(torch.round(_of_floats(x, *shares)), 0.0, 65535.0)
            case _:
                return _of_floats(x, *shares)

    def _axes(self, pictures: Tensor) -> tuple[_Axis, _Axis]:
        """How the height and the width are resized: the arithmetic is that of `geometry.fitted`, with numbers as 0-d tensors."""
        rows, columns = (torch.arange(length, dtype=torch.float64, device=pictures.device) for length in pictures.shape[1:3])
        height, width = _length(rows), _length(columns)
        down, across = self._resized(height, width)
        tall, wide = self.geometry.size
        if self.geometry.fit == "pad":
            starts = -torch.round((tall - down) / 2), -torch.round((wide - across) / 2)
        else:
            starts = torch.round((down - tall) / 2), torch.round((across - wide) / 2)
        return _Axis(rows, down, starts[0], tall), _Axis(columns, across, starts[1], wide)

    def _resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width after the resize, before the crop or the padding."""
        tall, wide = (torch.full_like(height, side) for side in self.geometry.resized)
        match self.geometry.fit:
            case "crop":  # it just covers `resized`
                narrow = width * tall <= height * wide
                return (
                    torch.where(narrow, torch.floor(wide * height / width), tall),
                    torch.where(narrow, wide, torch.floor(tall * width / height)),
                )
            case "pad":  # it just fits into `size`
                broad = width * tall >= height * wide
                return (
                    torch.where(broad, torch.clamp(torch.round(wide * height / width), min=1.0), tall),
                    torch.where(broad, wide, torch.clamp(torch.round(tall * width / height), min=1.0)),
                )
            case _:
                return tall, wide


def _of_floats(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Resize (N, channels, H, W) as Pillow's mode F: float64 sums, and float32 after each side. Which comes first shows in the last bit."""
    return (down @ (x @ across.T).to(torch.float32).to(torch.float64)).to(torch.float32).to(torch.float64)


def _of_bytes(x: Tensor, down: Tensor, across: Tensor, *, height_first: Tensor) -> Tensor:
    """Resize (N, channels, H, W) as Pillow's bytes, with coefficients in units of 2^-22."""
    both = (x, down, across.T)  # turned here: torch 2.11 takes a view that each branch makes for two inputs that share memory
    if torch.compiler.is_exporting():
        chosen: Tensor = torch.cond(height_first, _height_first, _width_first, both)
        return chosen
    return _height_first(*both) if height_first else _width_first(*both)


def _loses_more(down: _Axis, across: _Axis) -> Tensor:
    """Return whether the height is resized first, 0-d."""
    lost = _length(down.places) - down.resized
    return (lost > 0) & (lost > 2 * (_length(across.places) - across.resized))


def _units(shares: Tensor) -> Tensor:
    """Return coefficients in units of 2^-22, rounded."""
    shares = shares * _UNIT
    return torch.sign(shares) * torch.floor(torch.abs(shares) + 0.5)


def _height_first(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(_rounded(down @ x) @ across)


def _width_first(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(down @ _rounded(x @ across))


def _bilinear(x: Tensor) -> Tensor:
    return torch.clamp(1.0 - x, min=0.0)


def _bicubic(x: Tensor) -> Tensor:
    """Keys 1981 with a = -0.5, at distances x >= 0."""
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}
FILTERS = tuple(_FILTERS)  # "nearest" is another function of Pillow's, which resamples nothing


def _length(places: Tensor) -> Tensor:
    """How many places there are, as a 0-d float64: a graph keeps it open, where a Python number would be fixed."""
    return places.amax(0) + 1.0


def _rounded(sums: Tensor) -> Tensor:
    """Return bytes of sums in units of 2^-22."""
    return torch.clamp(torch.floor((sums + _UNIT / 2) / _UNIT), 0.0, 255.0)
