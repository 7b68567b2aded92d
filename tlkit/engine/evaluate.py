"""A network's answers on images: metrics, probabilities, embeddings. Nothing here changes the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.network import Network


def evaluate(
    network: Network,
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device,
    watch: Callable[[], None],
) -> dict[str, float]:
    """Return loss (mean cross-entropy) and accuracy (0 to 1) over images.

    Args:
        network: Put into eval mode, and back as it was.
        forward: From an input to logits (n, classes), by the network.
        batches: Inputs and labels (n,); at least one.
        device: That they are on.
        watch: Called between batches; may raise.
    """
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    images = 0
    with evaluating(network), torch.inference_mode():
        for x, labels in batches:
            watch()
            logits = forward(x)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
            images += len(labels)
    return {"loss": float(loss) / images, "accuracy": int(correct) / images}


def probabilities(network: Network, x: Tensor) -> Tensor:
    """Return class probabilities (N, classes) of normalised images (N, 3, H, W)."""
    with evaluating(network), torch.inference_mode():
        return torch.softmax(network(x), dim=1)


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
