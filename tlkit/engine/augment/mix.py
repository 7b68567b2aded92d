"""mixup and cutmix: which other image each image is mixed with, how much of it, and where.

The rule: the partner is drawn from all training images, not from the batch, so mixing too depends on seed, epoch and image alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.augment.draws import Draw, Draws, Positions, Uniform
from tlkit.recipe.augmentations import Augmentation, Cutmix, Mixup
from tlkit.tasks import Targets
from tlkit.units import Size


@dataclass(frozen=True)
class Mixing:
    """How each of n images is mixed.

    Attributes:
        partners: (n,) positions in the data set.
        cut: (n,) whether by cutmix, else by mixup.
        boxes: (n, 4) pixels of the partner that replace the image's: top, left, bottom, right; empty for mixup.
        shares: (n,) part of the label that stays the image's own, 0 to 1: for mixup lambda, for cutmix the area outside the box.
    """

    partners: Positions
    cut: NDArray[np.bool_]
    boxes: Positions
    shares: Uniform

    @property
    def own(self) -> NDArray[np.float32]:
        """(n,) part of each pixel outside of the box that stays the image's own."""
        return np.where(self.cut, 1, self.shares).astype(np.float32)


def mixing(
    tables: Sequence[Augmentation], *, size: Size, seed: int, epoch: int, images: Positions, among: Positions
) -> Mixing | None:
    """Draw how images are mixed; with mixup and cutmix both named, one of them for each image, with equal chance.

    Args:
        tables: The recipe's data.augment.
        size: Height and width of the network's input, pixels.
        seed: The run's seed.
        epoch: From 0.
        images: (n,) positions in the data set.
        among: (m,) positions of the training images, ascending. A partner is another of these; the image itself where m is 1.

    Returns:
        None where nothing mixes.

    Source: Zhang et al. 2017, arXiv:1710.09412, section 2; Yun et al. 2019, arXiv:1905.04899, eq. 1 and 2.
    """
    alphas = [next((table.alpha for table in tables if isinstance(table, kind)), None) for kind in (Mixup, Cutmix)]
    if alphas == [None, None]:
        return None
    draws = Draws(seed, epoch, images)
    chance = 0.5 if None not in alphas else float(alphas[0] is None)
    cut = draws.uniform(Draw.MIX_KIND) < chance
    shares = np.zeros(len(images))
    for chosen, alpha in zip((~cut, cut), alphas, strict=True):
        if alpha is not None:
            shares[chosen] = _beta(draws.uniform(Draw.MIX_SHARE)[chosen], alpha)
    boxes = np.where(cut[:, None], _boxes(draws, shares, size), 0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Mixing(_partners(draws, among), cut, boxes, np.where(cut, 1 - areas / (size[0] * size[1]), shares))


def mix(x: Tensor, partners: Tensor, mixing: Mixing) -> Tensor:
    """Mix images with their partners.

    Args:
        x: (n, 3, H, W) float32, normalised: mixing is linear, so this is mixing pixels without rounding them to bytes.
        partners: (n, 3, H, W), the same of `mixing.partners`, augmented by their own draws.
        mixing: How these images are mixed.

    Returns:
        (n, 3, H, W) float32; pixels of cutmix are those of the image or of its partner, bit for bit.
    """
    boxes, own = (torch.from_numpy(each).to(x.device) for each in (mixing.boxes, mixing.own))
    return mix_by(x, partners, boxes, own)


def mix_by(x: Tensor, partners: Tensor, boxes: Tensor, own: Tensor) -> Tensor:
    """Do as `mix`, with `Mixing.boxes` and `Mixing.own` on the device."""
    bounds = boxes[:, :, None]  # (n, 4, 1)
    y, x_ = torch.arange(x.shape[2], device=x.device), torch.arange(x.shape[3], device=x.device)
    rows = (y >= bounds[:, 0]) & (y < bounds[:, 2])  # (n, H)
    columns = (x_ >= bounds[:, 1]) & (x_ < bounds[:, 3])  # (n, W)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]  # (n, 1, H, W)
    own = own[:, None, None, None]
    return torch.where(inside, partners, (x * own).add_(partners * (1 - own)))


def mix_targets(own: Tensor, partners: Tensor, mixing: Mixing, classes: int, *, kind: Targets) -> Tensor:
    """Mix the targets of images with those of their partners, in the shares of `mixing`.

    Args:
        own: (n, ...), as `Targets.batch` gives them.
        partners: The same of `mixing.partners`.
        mixing: How these images are mixed.
        classes: Number of classes.
        kind: How the targets of the task are read.
    """
    return kind.mix(own, partners, torch.from_numpy(mixing.shares.astype(np.float32)).to(own.device), classes)


def _beta(quantiles: Uniform, alpha: float) -> Uniform:
    """Return draws of Beta(alpha, alpha) by its inverse distribution function."""
    from scipy.special import betaincinv

    drawn: Uniform = betaincinv(alpha, alpha, quantiles)
    return drawn


def _partners(draws: Draws, among: Positions) -> Positions:
    """Draw one of `among` for each image, leaving the image itself out."""
    own = np.minimum(np.searchsorted(among, draws.images), len(among) - 1)
    there = (among[own] == draws.images) & (len(among) > 1)
    chosen = draws.below(Draw.MIX_PARTNER, len(among) - there)
    partners: Positions = among[chosen + (there & (chosen >= own))]
    return partners


def _boxes(draws: Draws, shares: Uniform, size: Size) -> Positions:
    """Draw (n, 4) boxes of the picture's shape and area 1 - share around an evenly drawn middle, cut at the picture's edge."""
    down, across = ((side * np.sqrt(1 - shares) / 2).astype(np.int64) for side in size)  # half of the box
    y, x = draws.below(Draw.MIX_Y, size[0]), draws.below(Draw.MIX_X, size[1])
    return np.stack([y - down, x - across, y + down, x + across], axis=1).clip(0, (*size, *size))
