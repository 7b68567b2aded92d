"""The first kernels of a network, and how far each stage moved from where it began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlkit.network.network import Network

_MOST = 64  # filters, or channels of one kernel, that are kept


@dataclass(frozen=True)
class Kernels:
    """Kernels of one convolution, as pictures.

    Attributes:
        name: The library's name of the convolution.
        stage: The stage that it is in.
        shape: Of the whole weight.
        what: "filters", or "channels" of one filter.
        values: (n, k, k, 3) of filters of three channels, else (n, k, k), float32.
    """

    name: str
    stage: str
    shape: tuple[int, ...]
    what: str
    values: NDArray[np.float32]


def first(network: Network) -> list[Kernels]:
    """Return the kernels of the first convolution, and of the next one whose kernels are larger than one pixel.

    Of the first convolution they are its filters; of the second the channels of its first filter, or, where each filter reads one
    channel, its filters.
    """
    found: list[tuple[str, str, nn.Conv2d]] = [
        (name, stage, module)
        for stage, modules in network.stages.items()
        for name, module in modules.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    ]
    return [_of(name, stage, module.weight, first=not place) for place, (name, stage, module) in enumerate(found[:2])]


def _of(name: str, stage: str, weight: Tensor, *, first: bool) -> Kernels:
    values = weight.detach().float().cpu().numpy().copy()  # (filters, channels, k, k)
    what = "filters" if first or values.shape[1] == 1 else "channels"
    if what == "channels":
        shown = values[0, :_MOST]
    elif values.shape[1] == 3:
        shown = values[:_MOST].transpose(0, 2, 3, 1)
    else:
        shown = values[:_MOST].mean(1)
    return Kernels(name, stage, tuple(values.shape), what, np.ascontiguousarray(shown))


def change(before: Network, after: Network) -> dict[str, float]:
    """Return by stage |after - before| / |before|, Euclidean over its parameters; a stage that is frozen has exactly 0.

    What has another shape than before, as a head that was fitted, is left out.
    """
    old = {(parameter.stage, parameter.name): value for parameter, value in before.owned()}
    sums: dict[str, list[float]] = {}
    with torch.no_grad():
        for parameter, value in after.owned():
            was = old.get((parameter.stage, parameter.name))
            if was is None or was.shape != value.shape:
                continue
            begun = was.to(value.device).double()
            both = sums.setdefault(parameter.stage, [0.0, 0.0])
            both[0] += float((value.double() - begun).square().sum())
            both[1] += float(begun.square().sum())
    return {stage: (moved / norm) ** 0.5 if norm else 0.0 for stage, (moved, norm) in sums.items()}
