"""Metrics of a network on the images of one split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tlkit.engine.evaluate import evaluate
from tlkit.engine.images import decode
from tlkit.engine.images.parts import Library, Part
from tlkit.engine.images.pictures import Progress
from tlkit.network.network import Network
from tlkit.plans.resolve import Resolved
from tlkit.plugin import Images, Split
from tlkit.tasks import scoring


def scores(
    network: Network, split: Split, resolved: Resolved, *, batch_size: int, device: torch.device, progress: Progress
) -> dict[str, float]:
    """Return the metrics of the network's task on every image of a split; `progress` is told of images done.

    Raises:
        ImageError: an image cannot be decoded.
    """
    geometry = decode.evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
    pictures = Library(Images((), {"test": split})).pictures("test", geometry)
    every = np.arange(len(split.targets))
    corrupt = pictures.prepare(every, progress=lambda done, total: None)
    if corrupt:
        raise next(iter(corrupt.values()))
    part = Part(pictures, every, resolved.convention, network.task)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(every), batch_size):
            chosen = every[start : start + batch_size]
            yield part.inputs(chosen, 0, device).contiguous(), part.targets(chosen, 0, device)
            progress(start + len(chosen), len(every))

    return scoring.scores(evaluate(network, network, batches(), watch=lambda: None))
