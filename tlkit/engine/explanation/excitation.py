"""What excites the channels of each stage: for a few channels the images, and the places in them, with the highest activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.evaluate import evaluating
from tlkit.network.network import Network

CHANNELS, PATCHES = 3, 9
_MASS = 0.9  # of the gradient that a patch covers
_QUIET = 1e-6  # standard deviation of a channel that tells nothing apart


@dataclass(frozen=True)
class Box:
    """A square part of an image, in parts of its height and width: 0 to 1."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class Excited:
    """The patches that excite one channel most.

    Attributes:
        stage: Name of the stage.
        channel: Number of the channel in the stage's output.
        images: Positions of the images, the most exciting first, each once.
        boxes: The part of each image that the activation depends on most.
    """

    stage: str
    channel: int
    images: tuple[int, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Scan:
    """One pass of N images.

    Attributes:
        highest: Stage -> (N, C) the highest activation of each channel; stages whose output is a map alone.
        places: Stage -> (N, C) where that is, as y * w + x.
        sizes: Stage -> (h, w) of the map.
    """

    highest: dict[str, NDArray[np.float32]]
    places: dict[str, NDArray[np.int64]]
    sizes: dict[str, tuple[int, int]]


def scan(network: Network, batches: Iterable[Tensor]) -> Scan:
    """Run images (n, 3, H, W), normalised, through the network once."""
    highest: dict[str, list[Tensor]] = {}
    places: dict[str, list[Tensor]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with evaluating(network), torch.inference_mode():
        for batch in batches:
            x = batch
            for name, stage in network.stages.items():
                x = stage(x)
                if x.ndim == 4 and x.shape[2] * x.shape[3] > 1:
                    values, where = x.float().flatten(2).max(2)  # (n, C)
                    highest.setdefault(name, []).append(values)
                    places.setdefault(name, []).append(where)
                    sizes[name] = (x.shape[2], x.shape[3])
    return Scan(
        {name: torch.cat(each).cpu().numpy() for name, each in highest.items()},
        {name: torch.cat(each).cpu().numpy() for name, each in places.items()},
        sizes,
    )


def excited(network: Network, images: Callable[[NDArray[np.int64]], Tensor], seen: Scan) -> list[Excited]:
    """Return for each stage the most selective channels, with the patches that excite them most.

    Args:
        network: In any mode; nothing of it changes.
        images: From positions among those that were scanned to images (n, 3, H, W), normalised; a few are asked for at a time.
        seen: Their scan.
    """
    found: list[Excited] = []
    for stop, stage in enumerate(network.stages, start=1):
        if stage not in seen.highest:
            continue
        chosen = _selective(seen.highest[stage])
        first = [int(np.argmax(seen.highest[stage][:, channel])) for channel in chosen]
        places = [int(seen.places[stage][image, channel]) for image, channel in zip(first, chosen, strict=True)]
        if not chosen:
            continue
        radius = _radius(network, images(np.array(first)), stop, chosen, places, seen.sizes[stage])
        for channel in chosen:
            best = np.argsort(-seen.highest[stage][:, channel], kind="stable")[:PATCHES].tolist()
            boxes = tuple(_box(int(seen.places[stage][image, channel]), seen.sizes[stage], radius) for image in best)
            found.append(Excited(stage, channel, tuple(best), boxes))
    return found


def _selective(highest: NDArray[np.float32]) -> list[int]:
    """Return the channels whose highest activations stand out most from the others, in standard deviations."""
    with np.errstate(invalid="ignore", over="ignore"):  # of a network whose activations are not finite
        wide = highest.astype(np.float64)
        deviation = wide.std(0)
        top = np.sort(wide, axis=0)[-PATCHES:].mean(0)
        worth = np.where(deviation > _QUIET, (top - wide.mean(0)) / np.maximum(deviation, _QUIET), -np.inf)
    ranked = np.argsort(-worth, kind="stable")[:CHANNELS]
    return sorted(int(channel) for channel in ranked if np.isfinite(worth[channel]))


def _radius(network: Network, x: Tensor, stop: int, channels: list[int], places: list[int], size: tuple[int, int]) -> float:
    """Return half of the side, in parts of the image's height and width, of what holds most of the gradient of an activation.

    Source: the effective receptive field of Luo et al. 2016, arXiv:1701.04128.
    """
    with evaluating(network), torch.enable_grad():
        given = x.detach().clone().requires_grad_()
        output = network.carry(given, stop=stop).last.flatten(2)  # (n, C, h * w)
        rows = torch.arange(len(channels), device=x.device)
        chosen = output[rows, torch.tensor(channels, device=x.device), torch.tensor(places, device=x.device)]
        (gradient,) = torch.autograd.grad(chosen.sum(), given)
    mass = gradient.double().abs().sum(1).nan_to_num(posinf=0.0).cpu().numpy()  # (n, H, W)
    height, width = mass.shape[1:]
    found = []
    for each, place in zip(mass, places, strict=True):
        y, x_ = _centre(place, size)
        away_y = np.abs((np.arange(height) + 0.5) / height - y)[:, None]
        away_x = np.abs((np.arange(width) + 0.5) / width - x_)[None, :]
        away = np.maximum(away_y, away_x).ravel()
        order = np.argsort(away, kind="stable")
        share = np.cumsum(each.ravel()[order]) / max(each.sum(), 1e-30)
        within = min(int(np.searchsorted(share, _MASS)), len(order) - 1)
        found.append(float(away[order[within]]))
    return float(np.clip(np.median(found), 1.5 / min(height, width), 0.5))  # three pixels at least


def _box(place: int, size: tuple[int, int], radius: float) -> Box:
    """Return the box around a place of the map, moved into the image."""
    top, left = (min(max(centre - radius, 0.0), 1 - 2 * radius) for centre in _centre(place, size))
    return Box(top, left, 2 * radius, 2 * radius)


def _centre(place: int, size: tuple[int, int]) -> tuple[float, float]:
    """Return where the centre of a place of the map lies in the image, in parts of its height and width."""
    return (place // size[1] + 0.5) / size[0], (place % size[1] + 0.5) / size[1]
