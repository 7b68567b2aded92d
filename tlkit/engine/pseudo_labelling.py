"""Pseudo-labels: the labels that target images without their own have in an epoch of training by steps.

The rule: they are a pure function of the weights at the epoch's start. A checkpoint in the middle of an epoch holds them, since these weights
are gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tlkit.engine.domains import pseudo_labels
from tlkit.engine.evaluate import evaluating
from tlkit.engine.evaluation_forward import EvaluationForward
from tlkit.engine.host_rows import HostRows
from tlkit.engine.images.parts import TargetPart, TrainingPart
from tlkit.engine.prefix.feed import Feed

_NAME = "epoch/pseudo_labels"  # in a checkpoint


def label_(
    train: TrainingPart, target: TargetPart | None, forward: EvaluationForward, feed: Feed, *, watch: Callable[[], None]
) -> None:
    """Give training images that have pseudo-labels those of the nearest prototypes; other training images stay.

    Args:
        train: Training images.
        target: The same images without augmentation.
        forward: Of the network, in the epoch's phase.
        feed: Of that phase.
        watch: Called between batches; may raise to stop.
    """
    if train.pseudo is None:
        return
    assert target is not None  # these images are its
    read, probabilities = HostRows(), HostRows()
    with evaluating(forward.network), torch.inference_mode():
        for x in feed.inputs(target.part, train.indices):
            watch()
            features, logits = forward(x)
            read.add_(features.flatten(1))
            probabilities.add_(forward.network.task.probabilities(logits))
    train.pseudo[train.indices] = pseudo_labels.prototypes(read.together().numpy(), probabilities.together().numpy())


def state(train: TrainingPart) -> dict[str, Tensor]:
    """Return the pseudo-labels of training images, by name; nothing where these have labels of their own."""
    return {} if train.pseudo is None else {_NAME: torch.from_numpy(train.pseudo)}


def load_state_(train: TrainingPart, tensors: Mapping[str, Tensor]) -> None:
    """Set the pseudo-labels to what `state` returned.

    Raises:
        KeyError: they are not there.
        RuntimeError: they are of other images.
    """
    if train.pseudo is not None:
        torch.from_numpy(train.pseudo).copy_(tensors[_NAME])
