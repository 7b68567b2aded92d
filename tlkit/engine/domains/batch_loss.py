"""The loss of a method of domain adaptation in a training step.

The rule: a batch holds its source images first, then the labelled target images that the recipe asks for, and as many target images as source
images behind them, which are there once more where the method has a second view. It has targets for those before these, so no other label of the
target ever reaches a step. With a source-free method a batch
holds target images alone, and its targets are pseudo-labels. Where several processes share a batch, each has a share of each of these parts;
the method sees the images of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tlkit import plugin
from tlkit.engine.ranks import gathering
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.ranks.shares import Composition
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
        read: What the head reads, of all images in their order, (n + m + n, F), or with two views (n + m + 2n, F).
        target_logits: Of the target images without labels, (n, C), or of both views, (2n, C); none where the method has no loss. With a
            source-free method all images are such, and `logits` are the same.
        stages: Of all images, by the name of each stage that the method compares, the mean of its output, (n + m + n, F of the stage).
    """

    logits: Tensor
    aux_logits: Mapping[str, Tensor]
    read: Tensor
    target_logits: Tensor
    stages: Mapping[str, Tensor]


@dataclass(frozen=True)
class _ByDomain:
    """Values of the images of a batch, all processes together: (n, ...) each, of a source-free method no source images."""

    source: Tensor
    target: Tensor
    second: Tensor | None


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
        self.source_free, self.beside = adaptation.source_free, adaptation.beside
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
        whole: Composition,
        start: int,
        aux_heads: Sequence[str],
        computing: Callable[[], AbstractContextManager[None]],
        seen: Callable[[Composition], AbstractContextManager[object]],
    ) -> Outputs:
        """Run the trained stages and the head on a batch.

        Args:
            x: Input of the stage `start`, (n + m + n, ...), or (n + m + 2n, ...).
            images: Number of labelled images, n + m; with a source-free method of all images, (n, ...).
            whole: The batch, of all processes together.
            start: Leading stages that are fixed.
            aux_heads: Auxiliary classifiers that run; they see labelled images.
            computing: The context of the step's precision.
            seen: The context of a forward pass on this process's share of images.
        """
        network = self._network
        with computing():
            if self._method is None or self._method.together or self.source_free:
                with seen(whole):
                    carried, aux_logits = network.carry_with_aux(x, aux_heads=aux_heads, start=start)
                    read, stages = network.features(carried), network.compared(carried)
                aux_logits = {name: each[:images] for name, each in aux_logits.items()}
            else:
                with seen(Composition(whole.images, whole.labelled)):
                    carried, aux_logits = network.carry_with_aux(x[:images], aux_heads=aux_heads, start=start)
                    read, stages = network.features(carried), network.compared(carried)
                with seen(Composition(0, unlabelled=whole.unlabelled, views=whole.views)):
                    carried = network.carry(x[images:], start=start)
                    read = torch.cat([read, network.features(carried)])
                    stages = {name: torch.cat([stages[name], each]) for name, each in network.compared(carried).items()}
            with seen(whole):
                logits = network.answer(read).float()
        aux_logits = {name: each.float() for name, each in aux_logits.items()}
        return Outputs(logits[:images], aux_logits, read.float(), logits if self.source_free else logits[images:], stages)

    def __call__(self, outputs: Outputs, labels: Tensor, whole: Composition, ranks: Ranks) -> Tensor | None:
        """Return this process's part of the method's loss with its weight, (); None where it has none. Parts add up to the loss.

        Args:
            outputs: Of `forward`.
            labels: Of the source images, (n,), or soft ones (n, C); with a source-free method the pseudo-labels of the target's.
            whole: The batch, of all processes together.
            ranks: The processes.
        """
        if self._method is None:
            return None
        rows = partial(gathering.rows, ranks, counts=Composition(whole.images).counts(ranks.size))
        images, start = (0, 0) if self.source_free else (len(labels), len(outputs.logits))
        read = self._by_domain(outputs.read[:images], outputs.read[start:], rows)
        logits = self._by_domain(outputs.logits[:images], outputs.target_logits, rows)
        stages = {name: self._by_domain(each[:images], each[start:], rows) for name, each in outputs.stages.items()}
        batch = DomainBatch(
            source=read.source, target=read.target, source_logits=logits.source, target_logits=logits.target,
            labels=labels[:0] if self.source_free else rows(labels),
            head=self._network.answer, domain_head=self._network.domain_head, ramp=self._ramp,
            pseudo_labels=rows(labels) if self.source_free else None, second=read.second, second_logits=logits.second,
            source_stages={name: each.source for name, each in stages.items()},
            target_stages={name: each.target for name, each in stages.items()},
            second_stages={name: each.second for name, each in stages.items() if each.second is not None},
        )  # fmt: skip
        found = plugin.call(self._method.loss, batch, self._options)
        if not isinstance(found, Tensor) or found.ndim:
            raise PluginError(f"{self._method.loss}: gave {_kind(found)}, not a tensor ().")
        return found * (self._weight / ranks.size)

    def _by_domain(self, source: Tensor, others: Tensor, rows: Callable[[Tensor], Tensor]) -> _ByDomain:
        """Gather the rows of all processes, of images of the source and of the target, which are in others once or in two views."""
        views = [rows(each) for each in others.chunk(max(self.beside, 1))]
        return _ByDomain(source if self.source_free else rows(source), views[0], views[1] if len(views) > 1 else None)


def share(images: int, labelled: int, *, weight: int) -> float:
    """Return the share of labelled target images in the loss, as if each were `weight` times among the images of the source."""
    return weight * labelled / (images + weight * labelled)


def _kind(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
