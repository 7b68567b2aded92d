"""The losses of trained methods as a training step calls them: `loss(batch, options)`, and the domain heads that they need.

Each takes what its own module says from a `DomainBatch`. The ramp is the weight of the loss where there is no adversary; where there is one,
it is the factor of the gradient reversal, so that the adversary itself learns from the first step on.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tlkit.plugin import DomainBatch
from tlkit_adapters import cdan as cdan_
from tlkit_adapters import dann as dann_
from tlkit_adapters import mcc as mcc_
from tlkit_adapters import mdd as mdd_
from tlkit_adapters import mmd as mmd_
from tlkit_adapters import mme as mme_
from tlkit_adapters import shot as shot_
from tlkit_adapters.by_steps import CdanOptions, DomainHeadOptions, MccOptions, MddOptions, MmdOptions, ShotOptions
from tlkit_adapters.reversal import reverse


def mcc(batch: DomainBatch[Tensor], options: MccOptions) -> Tensor:
    """Return the class confusion of the target batch."""
    return batch.ramp * mcc_.loss(batch.target_logits, temperature=options.temperature)


def mmd(batch: DomainBatch[Tensor], options: MmdOptions) -> Tensor:
    """Return the discrepancy between both batches: of what the head reads, or the sum of those of the stages that are asked for."""
    pairs = [(source, batch.target_stages[name]) for name, source in batch.source_stages.items()]
    losses = [mmd_.loss(source, target) for source, target in pairs or [(batch.source, batch.target)]]
    return batch.ramp * torch.stack(losses).sum()


def mme(batch: DomainBatch[Tensor], options: None) -> Tensor:
    """Return the negative entropy of the target batch, whose features pass through the reversal before the head."""
    return mme_.loss(batch.head(reverse(batch.target, batch.ramp)))


def dann(batch: DomainBatch[Tensor], options: DomainHeadOptions) -> Tensor:
    """Return the domain head's loss on features that passed through the reversal."""
    assert batch.domain_head is not None  # as the adapter declares
    scores = batch.domain_head(reverse(torch.cat([batch.source, batch.target]), batch.ramp))
    return dann_.loss(*_by_domain(scores, batch))


def cdan(batch: DomainBatch[Tensor], options: CdanOptions) -> Tensor:
    """Return the domain head's loss on the map of features and predictions, with weights for sure images where they are asked for."""
    assert batch.domain_head is not None  # as the adapter declares
    predictions = torch.cat([batch.source_logits, batch.target_logits]).detach().softmax(1)
    scores = batch.domain_head(reverse(torch.cat([batch.source, batch.target]), batch.ramp), predictions)
    source, target = _by_domain(scores, batch)
    if not options.entropy:
        return dann_.loss(source, target)
    return cdan_.loss(source, target, cdan_.weights(batch.source_logits), cdan_.weights(batch.target_logits))


def mdd(batch: DomainBatch[Tensor], options: MddOptions) -> Tensor:
    """Return the adversarial classifier's loss on features that passed through the reversal."""
    assert batch.domain_head is not None  # as the adapter declares
    reversed_ = reverse(torch.cat([batch.source, batch.target]), options.reversal * batch.ramp)
    adversary = batch.domain_head(reversed_)
    source, target = adversary[: len(batch.source)], adversary[len(batch.source) :]
    return mdd_.loss(batch.source_logits, source, batch.target_logits, target, margin=options.margin)


def shot(batch: DomainBatch[Tensor], options: ShotOptions) -> Tensor:
    """Return the information loss of the target batch and the cross-entropy of its pseudo-labels; there is no ramp."""
    assert batch.pseudo_labels is not None  # as the adapter declares
    return shot_.loss(batch.target_logits, batch.pseudo_labels, beta=options.beta)


def _by_domain(scores: Tensor, batch: DomainBatch[Tensor]) -> tuple[Tensor, Tensor]:
    return scores[: len(batch.source), 0], scores[len(batch.source) :, 0]


def domain_classifier(features: int, classes: int, options: DomainHeadOptions) -> nn.Module:
    """Build DANN's domain head, from (N, features) to (N, 1)."""
    return _perceptron([features, options.width, options.width, 1])


class ConditionalClassifier(nn.Module):
    """CDAN's domain head, from (N, features) and (N, classes) to (N, 1).

    Args:
        features: Values that the head reads.
        classes: Number of classes.
        options: Of the method.
    """

    def __init__(self, features: int, classes: int, options: CdanOptions) -> None:
        super().__init__()
        self.map = cdan_.ConditionalMap(features, classes)
        self.layers = _perceptron([self.map.width, options.width, options.width, 1])

    def forward(self, features: Tensor, predictions: Tensor) -> Tensor:
        """Return (N, 1)."""
        scores: Tensor = self.layers(self.map(features, predictions))
        return scores


def adversarial_classifier(features: int, classes: int, options: MddOptions) -> nn.Module:
    """Build MDD's second classifier, from (N, features) to (N, classes)."""
    return _perceptron([features, options.width, classes])


def _perceptron(widths: list[int]) -> nn.Sequential:
    """Layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
