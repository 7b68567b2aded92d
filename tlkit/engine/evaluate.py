"""A network's answers on images: metrics, probabilities, embeddings. Nothing here changes the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.engine.data import Part
from tlkit.network import Network


def evaluate(
    network: Network, part: Part, *, batch_size: int, device: torch.device, watch: Callable[[], None]
) -> dict[str, float]:
    """Return loss (mean cross-entropy) and accuracy (0 to 1) over images.

    Args:
        network: Run in eval mode, and put back as it was.
        part: The images.
        batch_size: Images at a time.
        device: That the network is on.
        watch: Called between batches; may raise.
    """
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluating(network), torch.inference_mode():
        for x, labels in part.batches(batch_size, device):
            watch()
            logits = network(x)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
    return {"loss": float(loss) / len(part.indices), "accuracy": int(correct) / len(part.indices)}


def probabilities(network: Network, x: Tensor) -> Tensor:
    """Return class probabilities (N, classes) of normalised images (N, 3, H, W)."""
    with evaluating(network), torch.inference_mode():
        return torch.softmax(network(x), dim=1)


def embeddings(network: Network, x: Tensor) -> Tensor:
    """Return pooled features (N, features) of normalised images (N, 3, H, W)."""
    with evaluating(network), torch.inference_mode():
        return network.embed(x)


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
