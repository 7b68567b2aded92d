"""Closed-form alignment of two domains: stats, CORAL, linear optimal transport, subspace alignment. It needs no labels.

The rule: a method returns the maps, not the features, so that images that come later pass through the same maps. All computation
is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError
from tlkit.plugin import Affine, Alignment

Features = NDArray[np.float64]
RIDGE = 0.1  # added to the variances of standardised features, which are 1


def stats(source: NDArray[Any], target: NDArray[Any]) -> Alignment:
    """Give each source feature the mean and the standard deviation that it has in the target; target features stay.

    A feature that is constant in the source is only shifted; one that is constant in the target alone becomes constant.

    Args:
        source: (N, F).
        target: (M, F).

    Raises:
        DataError: a domain has fewer than two images, the numbers of features differ, or a feature is not a finite number.

    Source: AdaBN's statistics (Li et al. 2016, arXiv:1603.04779, algorithm 1), here of the features that the head reads.
    """
    s, t = _checked(source, target)
    scale = np.where(s.varies, np.where(t.varies, t.deviation, 0.0) / s.deviation, 1.0)
    return Alignment(Affine(scale, t.mean - s.mean * scale), _identity(t))


def coral(source: NDArray[Any], target: NDArray[Any], *, ridge: float = RIDGE) -> Alignment:
    """Give source features the covariance of the target: whiten them by the source's, then colour them by the target's.

    Features are standardised first, each domain by its own mean and standard deviation, and end in the units of the target, whose
    mean they get. Target features stay.

    Args:
        source: (N, F).
        target: (M, F).
        ridge: Added to the diagonal of both covariances of the standardised features; the paper adds 1. Above 0.

    Raises:
        DataError: as for `stats`; or `ridge` is not above 0.

    Source: Sun, Feng & Saenko 2016, arXiv:1511.05547, algorithm 1.
    """
    s, t = _checked(source, target)
    of_source, of_target = s.covariance(s.deviation, ridge), t.covariance(t.deviation, ridge)
    return _of_source(s, _power(of_source, -0.5) @ _power(of_target, 0.5) * t.deviation, t)


def linot(source: NDArray[Any], target: NDArray[Any], *, ridge: float = RIDGE) -> Alignment:
    """Move source features by the linear optimal transport between two Gaussians: mean and covariance become the target's.

    Of all linear maps that give source features the target's mean and covariance, it is the one that moves them least. Features
    are standardised by the source first. Target features stay.

    Args:
        source: (N, F).
        target: (M, F).
        ridge: Added to the diagonal of both covariances of the standardised features. Above 0.

    Raises:
        DataError: as for `stats`; or `ridge` is not above 0.

    Source: Flamary, Lounici & Ferrari 2019, arXiv:1905.10155, eq. 3; Peyre & Cuturi 2019, arXiv:1803.00567, eq. 2.40.
    """
    s, t = _checked(source, target)
    of_source, of_target = s.covariance(s.deviation, ridge), t.covariance(s.deviation, ridge)
    root, inverse = _powers(of_source, 0.5, -0.5)
    return _of_source(s, inverse @ _power(root @ of_target @ root, 0.5) @ inverse * s.deviation, t)


def subspace(source: NDArray[Any], target: NDArray[Any], *, dimensions: int = 50) -> Alignment:
    """Project each domain to its own principal components, and turn the source's components towards the target's.

    Each domain is standardised by its own mean and standard deviation first. With the components P (F, D) of a domain as
    columns, source features become z P_s (P_s^T P_t), and target features z P_t.

    Args:
        source: (N, F).
        target: (M, F).
        dimensions: Number of principal components, D. There are fewer where a domain has fewer images or directions in which it varies.

    Raises:
        DataError: as for `stats`; or `dimensions` is less than 1.

    Source: Fernando et al. 2013, "Unsupervised visual domain adaptation using subspace alignment", algorithm 1.
    """
    s, t = _checked(source, target)
    if dimensions < 1:
        raise DataError(f"adapt: dimensions is {dimensions}.", "1 or more, for instance 50")
    count = min(dimensions, len(s.centred) - 1, len(t.centred) - 1, len(s.mean))
    of_source, of_target = _components(s, count), _components(t, count)
    count = min(of_source.shape[1], of_target.shape[1])
    of_source, of_target = of_source[:, :count], of_target[:, :count]
    turned = of_source @ (of_source.T @ of_target)
    return Alignment(_standardised(s, turned), _standardised(t, of_target))


@dataclass(frozen=True, eq=False)
class _Domain:
    """A domain's features in float64, and their statistics, each computed once.

    Attributes:
        centred: (N, F) with mean 0; constant features are exactly 0.
        mean: (F,).
        varies: (F,) whether a feature is not constant.
        deviation: (F,) standard deviations, 1 for a feature that is constant.
    """

    centred: Features
    mean: Features
    varies: NDArray[np.bool_]
    deviation: Features

    @classmethod
    def of(cls, x: Features) -> _Domain:
        """Compute the statistics of features (N, F)."""
        mean, std = x.mean(0), x.std(0)
        # The deviation alone does not say that a feature is constant: by rounding, that of many times 0.1 is above 0.
        varies = (x.min(0) < x.max(0)) & (std > 0)
        return cls(np.where(varies, x - mean, 0.0), mean, varies, np.where(varies, std, 1.0))

    def covariance(self, unit: Features, ridge: float) -> Features:
        """Return the covariance (F, F) of features in units (F,) of their own, with a ridge."""
        if not ridge > 0:
            raise DataError(f"adapt: ridge is {ridge:g}.", f"above 0, for instance {RIDGE}")
        x = self.centred / unit
        found: Features = x.T @ x / (len(x) - 1) + ridge * np.eye(len(unit))
        return found


def _checked(source: NDArray[Any], target: NDArray[Any]) -> tuple[_Domain, _Domain]:
    """Return both domains."""
    found = []
    for name, x in (("source", source), ("target", target)):
        wide = np.asarray(x, dtype=np.float64)
        if wide.ndim != 2:
            raise DataError(f"adapt: the {name} features have shape {wide.shape}.", "(images, features)")
        if len(wide) < 2:
            raise DataError(f"adapt: the {name} has {len(wide)} image{'' if len(wide) == 1 else 's'}.", "two at least")
        if not np.isfinite(wide).all():
            raise DataError(f"adapt: the {name} features are not finite numbers.", "other weights, or another head.embed")
        found.append(wide)
    if found[0].shape[1] != found[1].shape[1]:
        counts = f"{found[0].shape[1]} features of a source image and {found[1].shape[1]} of a target image"
        raise DataError(f"adapt: there are {counts}.", "one network computes both")
    return _Domain.of(found[0]), _Domain.of(found[1])


def _identity(domain: _Domain) -> Affine:
    return Affine(np.ones(len(domain.mean)), np.zeros(len(domain.mean)))


def _power(matrix: Features, power: float) -> Features:
    """A power of a symmetric matrix (F, F) whose eigenvalues are above 0."""
    return _powers(matrix, power)[0]


def _powers(matrix: Features, *powers: float) -> list[Features]:
    """Powers of a symmetric matrix (F, F) whose eigenvalues are above 0; finding these is most of the time that a method takes.

    A feature that varies with no other, as a constant one, stays so exactly. Else rounding would mix others into it, by 1e-17 for
    instance, and a head that scales every feature to a deviation of 1 would read that as a feature like all others, or divide by 0.
    """
    joined = np.flatnonzero((matrix != 0).sum(0) > 1)
    block = np.ix_(joined, joined)
    values, vectors = np.linalg.eigh((matrix + matrix.T)[block] / 2)
    found = [np.diag(np.diag(matrix) ** power) for power in powers]
    for whole, power in zip(found, powers, strict=True):
        whole[block] = (vectors * values**power) @ vectors.T
    return found


def _of_source(source: _Domain, matrix: Features, target: _Domain) -> Alignment:
    """A matrix (F, F) for standardised source features, which then get the target's mean; target features stay."""
    weight = matrix / source.deviation[:, None]
    return Alignment(Affine(weight, target.mean - source.mean @ weight), _identity(target))


def _standardised(domain: _Domain, matrix: Features) -> Affine:
    """The map that standardises features as a domain is, and then multiplies them by a matrix (F, D)."""
    weight = matrix / domain.deviation[:, None]
    return Affine(weight, -domain.mean @ weight)


def _components(domain: _Domain, count: int) -> Features:
    """The principal components (F, count) of standardised features as columns, the largest first; fewer where features vary in fewer."""
    from scipy.linalg import eigh

    z, features = domain.centred / domain.deviation, len(domain.mean)
    values, columns = eigh(z.T @ z, subset_by_index=[features - count, features - 1])
    there = max(1, int((values > values[-1] * features * np.finfo(np.float64).eps).sum()))
    return np.asarray(columns[:, : -there - 1 : -1], dtype=np.float64)
