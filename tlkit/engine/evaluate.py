"""A network's predictions for images: logits, probabilities, embeddings. Nothing here changes the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlkit.engine.host_rows import HostRows
from tlkit.engine.picked_masks import PickedMasks
from tlkit.engine.ranks.ranks import Shared
from tlkit.engine.sampled_features import SampledFeatures
from tlkit.network.network import Network
from tlkit.tasks import Predictions


def evaluate(
    network: Network,
    forward: Callable[[Tensor], tuple[Tensor, Tensor]],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    watch: Callable[[], None],
    together: Callable[[Tensor], Tensor] = lambda rows: rows,
    shown: Shared | None = None,
    masks: bool = True,
) -> Predictions:
    """Return a network's predictions for images; of a task with a `Reduction`, what it keeps of them.

    Args:
        network: Put into eval mode, and back as it was.
        forward: From an input to what the head reads, and logits (n, classes, ...), by the network.
        batches: Inputs and targets; at least one.
        watch: Called between batches; may raise.
        together: From the rows of these images to those of all, where other processes have others.
        shown: The images, where a report shows some of them: what the head reads of these is kept, or their masks. None for none.
        masks: Keep masks too; no report draws those of an epoch that training goes on from.
    """
    logits, targets, task = HostRows(), HostRows(), network.task
    reduction = task.reduction
    sampled = None if shown is None or task.shown is None else SampledFeatures(shown)
    picked = PickedMasks(shown) if masks and shown is not None and task.targets.masks else None
    with evaluating(network), torch.inference_mode():
        for x, each in batches:
            watch()
            read, found = forward(x)
            found = found.float()
            if picked is not None:
                picked.add_(found)
            if reduction is not None:
                found, each = reduction.rows(found, each), each.new_zeros(len(each), 1)
            logits.add_(found)
            targets.add_(each)
            if sampled is not None:
                sampled.add_(read)
    # Metrics ask for many numbers one by one, so all of them are computed on the host.
    both = together(logits.together()), together(targets.together())
    features = None if sampled is None else sampled.together()
    kept = None if picked is None else picked.together()
    return Predictions(*both, task, network.positive, network.logarithms, features, kept)


def probabilities(network: Network, x: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return class probabilities (N, classes) of normalised images (N, 3, H, W), whose logits are divided by a temperature."""
    with evaluating(network), torch.inference_mode():
        return network.task.probabilities(network(x) / temperature)


def embeddings(network: Network, x: Tensor, *, at: str | None = None, pooled: bool = True) -> Tensor:
    """Return a stage's output for normalised images (N, 3, H, W), as `Network.embed` does."""
    with evaluating(network), torch.inference_mode():
        return network.embed(x, at=at, pooled=pooled)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and back as it was; a finished network is, and to set it takes a millisecond for every batch."""
    modes = [(module, module.training) for module in network.modules()]
    if any(training for _, training in modes):
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training
