"""Whether a method of domain adaptation keeps the contract: its maps, or its loss and gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import plugin
from tlkit.engine import adapting
from tlkit.errors import PluginError
from tlkit.network import building
from tlkit.plugin import Adapter, DomainBatch
from tlkit.recipe import parsing

_FEATURES, _IMAGES, _CLASSES = 8, 12, 3  # of each domain that a method is tried with


def check_adapter(adapter: Adapter) -> Iterator[str]:
    """Hold a method of domain adaptation to the contract: the maps of one that is solved, loss and gradient of one that is trained.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    options = parsing.options(adapter.options, {}, place="adapt.options")
    if adapter.batch_norm:
        yield "BatchNorm gets the target's statistics"
    if not (adapter.solve or adapter.loss):
        return
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(_IMAGES, _FEATURES, generator=generator)
    target = 2 * torch.randn(_IMAGES, _FEATURES, generator=generator) + 1
    if adapter.solve:
        maps = adapting.aligned(adapter, source.numpy(), target.numpy(), options)
        assert maps is not None  # it is solved
        yield f"maps {_FEATURES} features of both domains to {maps.target(target.numpy()).shape[1]}"
        return
    head = nn.Linear(_FEATURES, _CLASSES)
    domain = building.build_module(adapter.domain_head, _FEATURES, _CLASSES, options) if adapter.domain_head else None
    source.requires_grad_()
    target.requires_grad_()
    second = target.detach() + 0.1 * torch.randn(_IMAGES, _FEATURES, generator=generator)
    second.requires_grad_()
    stages = _stages(adapter, options)
    batch = DomainBatch(
        source, target, head(source), head(target), torch.arange(_IMAGES) % _CLASSES, head, domain, torch.tensor(1.0),
        pseudo_labels=torch.arange(_IMAGES) % _CLASSES if adapter.source_free else None,
        second=second if adapter.second_view else None, second_logits=head(second) if adapter.second_view else None,
        source_stages=_of_stages(stages, source), target_stages=_of_stages(stages, target),
        second_stages=_of_stages(stages, second) if adapter.second_view else {},
    )  # fmt: skip
    loss = plugin.call(adapter.loss, batch, options)
    if not isinstance(loss, Tensor) or loss.shape != () or not bool(torch.isfinite(loss)):
        raise PluginError(f"{adapter.loss}: its loss is to be one finite number, a tensor of shape ().")
    yield f"gives a loss of {'a target batch' if adapter.source_free else 'a source and a target batch'}"
    loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types here
    found = [each.grad for each in (target, second) if each.grad is not None]
    if not found or not all(bool(torch.isfinite(each).all()) for each in found):
        raise PluginError(f"{adapter.loss}: its loss has no finite gradient with respect to the target's features.")
    yield "has a gradient with respect to the target's features"


def _stages(adapter: Adapter, options: BaseModel | None) -> list[str]:
    """Names of the stages that a method compares: made up where it gives numbers."""
    if isinstance(adapter.stages, str):
        return list(getattr(options, adapter.stages)) if adapter.stages else []
    return [f"stage {number}" for number in sorted(adapter.stages)]


def _of_stages(stages: Sequence[str], features: Tensor) -> dict[str, Tensor]:
    """Features of stages, each of another width."""
    return {name: features[:, : 1 + place % _FEATURES].tanh() for place, name in enumerate(stages)}
