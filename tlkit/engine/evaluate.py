"""A network's answers on images: logits, probabilities, embeddings. Nothing here changes the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.network.network import Network
from tlkit.tasks import objective
from tlkit.tasks.metrics import Answers


def evaluate(
    network: Network,
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    watch: Callable[[], None],
) -> Answers:
    """Return a network's answers on images.

    Args:
        network: Put into eval mode, and back as it was.
        forward: From an input to logits (n, classes), by the network.
        batches: Inputs and labels; at least one.
        watch: Called between batches; may raise.
    """
    logits, labels = [], []
    with evaluating(network), torch.inference_mode():
        for x, targets in batches:
            watch()
            logits.append(forward(x).float())
            labels.append(targets)
    return Answers(torch.cat(logits), torch.cat(labels), network.task, network.positive, network.logarithms)


def probabilities(network: Network, x: Tensor) -> Tensor:
    """Return class probabilities (N, classes) of normalised images (N, 3, H, W)."""
    with evaluating(network), torch.inference_mode():
        return objective.probabilities(network(x), network.task)


def embeddings(network: Network, x: Tensor, *, at: str | None = None, pooled: bool = True) -> Tensor:
    """Return a stage's output for normalised images (N, 3, H, W), as `Network.embed` does."""
    with evaluating(network), torch.inference_mode():
        return network.embed(x, at=at, pooled=pooled)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and back as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
