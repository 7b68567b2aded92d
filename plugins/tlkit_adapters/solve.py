"""What the solved methods are called by: features of both domains and the method's options, to the maps."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tlkit.plugin import Alignment
from tlkit_adapters import RidgeOptions, SubspaceOptions, alignment


def stats(source: NDArray[Any], target: NDArray[Any], options: None) -> Alignment:
    """Return the maps of `alignment.stats`."""
    return alignment.stats(source, target)


def coral(source: NDArray[Any], target: NDArray[Any], options: RidgeOptions) -> Alignment:
    """Return the maps of `alignment.coral`."""
    return alignment.coral(source, target, ridge=options.ridge)


def linot(source: NDArray[Any], target: NDArray[Any], options: RidgeOptions) -> Alignment:
    """Return the maps of `alignment.linot`."""
    return alignment.linot(source, target, ridge=options.ridge)


def subspace(source: NDArray[Any], target: NDArray[Any], options: SubspaceOptions) -> Alignment:
    """Return the maps of `alignment.subspace`."""
    return alignment.subspace(source, target, dimensions=options.dimensions)
