"""The loss of a method of domain adaptation in a training step.

The rule: a batch holds its source images first, then the labelled target images that the recipe asks for, and as many target images as source
images behind them; it has targets for those before these. So no other label of the target ever reaches a step. With a source-free method a batch
holds target images alone, and its targets are pseudo-labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from tlkit import plugin
from tlkit.errors import PluginError
from tlkit.network.network import Network
from tlkit.plans.adaptation import Adaptation
from tlkit.plugin import DomainBatch


@dataclass(frozen=True)
class Outputs:
    """What the network gives for a batch of both domains.

    Attributes:
        logits: Of the labelled images, those of the source first, (n + m, C).
        aux_logits: Of the same, by auxiliary classifier.
        read: What the head reads, of all images in their order, (n + m + n, F).
        target_logits: Of the target images without labels, (n, C); none where the method has no loss. With a source-free method all images
            are such, and `logits` are the same.
    """

    logits: Tensor
    aux_logits: Mapping[str, Tensor]
    read: Tensor
    target_logits: Tensor


class DomainLoss:
    """A method's loss, and the forward pass of a batch of both domains.

    Args:
        network: With the method's domain head, where it has one.
        adaptation: [adapt] with its method, which has a loss, or with labelled target images, or with both.
        device: The device that the network is on.
        labelled: Share that labelled target images have in the loss of labelled images, 0 to 1: see `share`.
    """

    def __init__(self, network: Network, adaptation: Adaptation, device: torch.device, *, labelled: float = 0.0) -> None:
        self.labelled = labelled
        self.source_free = adaptation.source_free
        self._network, self._options = network, adaptation.options
        self._method = adaptation.adapter if adaptation.by_steps else None
        self._weight, self._rises = adaptation.table.weight, adaptation.table.ramp
        self._ramp = torch.ones((), device=device)

    def set_ramp_(self, ramp: float) -> None:
        """Set the ramp, 0 to 1, unless the recipe has `ramp = false`."""
        if self._rises:
            self._ramp.fill_(ramp)

    def forward(
        self,
        x: Tensor,
        images: int,
        *,
        start: int,
        aux_heads: Sequence[str],
        computing: Callable[[], AbstractContextManager[None]],
    ) -> Outputs:
        """Run the trained stages and the head on a batch.

        Args:
            x: Input of the stage `start`, (n + m + n, ...).
            images: Number of labelled images, n + m; with a source-free method of all images, (n, ...).
            start: Leading stages that are fixed.
            aux_heads: Auxiliary classifiers that run; they see labelled images.
            computing: The context of the step's precision.
        """
        network = self._network
        with computing():
            if self._method is None or self._method.together or self.source_free:
                carried, aux_logits = network.carry_with_aux(x, aux_heads=aux_heads, start=start)
                aux_logits = {name: each[:images] for name, each in aux_logits.items()}
                read = network.features(carried)
            else:
                carried, aux_logits = network.carry_with_aux(x[:images], aux_heads=aux_heads, start=start)
                read = torch.cat([network.features(carried), network.features(network.carry(x[images:], start=start))])
            logits = network.answer(read).float()
        aux_logits = {name: each.float() for name, each in aux_logits.items()}
        return Outputs(logits[:images], aux_logits, read.float(), logits if self.source_free else logits[images:])

    def __call__(self, outputs: Outputs, labels: Tensor) -> Tensor | None:
        """Return the method's loss with its weight, (); None where it has none.

        Args:
            outputs: Of `forward`.
            labels: Of the source images, (n,), or soft ones (n, C); with a source-free method the pseudo-labels of the target's.
        """
        if self._method is None:
            return None
        images = 0 if self.source_free else len(labels)  # of the source
        batch = DomainBatch(
            source=outputs.read[:images], target=outputs.read[-len(outputs.target_logits) :],
            source_logits=outputs.logits[:images], target_logits=outputs.target_logits,
            labels=labels[:images], head=self._network.answer, domain_head=self._network.domain_head, ramp=self._ramp,
            pseudo_labels=labels if self.source_free else None,
        )  # fmt: skip
        found = plugin.call(self._method.loss, batch, self._options)
        if not isinstance(found, Tensor) or found.ndim:
            raise PluginError(f"{self._method.loss}: gave {_kind(found)}, not a tensor ().")
        return found * self._weight


def share(images: int, labelled: int, *, weight: int) -> float:
    """Return the share of labelled target images in the loss, as if each were `weight` times among the images of the source."""
    return weight * labelled / (images + weight * labelled)


def _kind(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
