"""Replace BatchNorm's statistics by those of another domain, as AdaBN does.

Of every channel, with all values v of all target images and positions at the input of a BatchNorm layer:

    mean = E[v],   var = E[v^2] - E[v]^2   (divided by n - 1, as BatchNorm keeps it)

Batches are combined exactly (Chan, Golub & LeVeque 1979), so their size does not matter to a layer's statistics. Layers are measured in one
pass: a layer's input was normalised by each batch's own statistics in the layers before it, as in training.

Source: Li, Wang, Shi, Liu & Hou 2016, arXiv:1603.04779, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlkit.engine.evaluate import evaluating
from tlkit.engine.images.parts import Part
from tlkit.network.network import Network

_Hook = Callable[[nn.Module, tuple[Tensor, ...]], None]


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each channel, in float64.

    Attributes:
        count: Values of a channel.
        mean: (C,).
        squares: (C,) sum of (v - mean)^2.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @property
    def variance(self) -> Tensor:
        """(C,), divided by count - 1; of a single value 0."""
        return self.squares / max(self.count - 1, 1)


def moments(x: Tensor) -> Moments:
    """Return the moments of each channel of a batch (N, C, ...)."""
    values = x.detach().double().transpose(0, 1).flatten(1)  # (C, N * positions)
    mean = values.mean(1)
    return Moments(values.shape[1], mean, ((values - mean[:, None]) ** 2).sum(1))


def combined(one: Moments, other: Moments) -> Moments:
    """Return the moments of the values of both."""
    count = one.count + other.count
    apart = other.mean - one.mean
    mean = one.mean + apart * (other.count / count)
    return Moments(count, mean, one.squares + other.squares + apart**2 * (one.count * other.count / count))


def replace_statistics_(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the running statistics of every BatchNorm layer to those of the batches; return how many layers that were.

    Everything else stays: weights, the modes of layers, and the number of batches that a layer has seen.

    Args:
        network: Runs on a batch when it is called.
        batches: Input of the network, target images.

    Raises:
        ValueError: there is no batch.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)}
    found: dict[str, Moments] = {}
    kept = {name: (layer.running_mean, layer.running_var, layer.num_batches_tracked) for name, layer in layers.items()}
    handles = [layer.register_forward_pre_hook(_collector(name, found)) for name, layer in layers.items()]
    try:
        with evaluating(network), torch.no_grad():
            for layer in layers.values():
                layer.training = True  # normalise by the batch; its own running statistics are put aside meanwhile
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            for batch in batches:
                network(batch)
    finally:
        for handle in handles:
            handle.remove()
        for name, layer in layers.items():
            layer.running_mean, layer.running_var, layer.num_batches_tracked = kept[name]
    if layers and not found:
        raise ValueError("there is no batch of target images")
    for name, moments_of in found.items():
        mean, variance = layers[name].running_mean, layers[name].running_var
        if mean is not None and variance is not None:
            mean.copy_(moments_of.mean)
            variance.copy_(moments_of.variance)
    return len(layers)


def adapt_(network: Network, part: Part, *, batch_size: int, device: torch.device) -> None:
    """Set the running statistics of a network to those of a part's images.

    Args:
        network: On the device.
        part: The images, two at least.
        batch_size: Images that pass the network at a time, about: batches are of nearly one size, since one image alone has no statistics.
        device: That the network is on.
    """
    batches = np.array_split(part.indices, max(1, len(part.indices) // max(batch_size, 2)))
    replace_statistics_(network, (part.inputs(chosen, 0, device) for chosen in batches))


def _collector(name: str, found: dict[str, Moments]) -> _Hook:
    def collect(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        new = moments(inputs[0])
        found[name] = combined(found[name], new) if name in found else new

    return collect
