"""The contract of plugins, for us and for third parties: `tlkit check NAME`, or these functions in a test of your own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from tlkit import datasets, reading, registry, sources
from tlkit import network as networks
from tlkit.errors import PluginError, TlkitError, nearest, reason
from tlkit.network import Network
from tlkit.plugin import Backbone, Dataset, Head
from tlkit.sources import Places

_CLASSES = 3  # of the head that a backbone is tried with


def check(name: str, *, data: Path | None = None) -> Iterator[str]:
    """Hold an installed backbone or data set to the contract.

    Args:
        name: As `tlkit list` shows it.
        data: Folder of a data set's files.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    if registry.offers(Backbone, name):
        yield from check_backbone(registry.get(Backbone, name))
    elif registry.offers(Dataset, name):
        yield from check_dataset(name, registry.get(Dataset, name), data=data)
    else:
        names = [entry.name for kind in (Backbone, Dataset) for entry in registry.entries(kind)]
        raise TlkitError(
            f'there is no backbone or data set "{name}" installed.', "tlkit list shows what is", nearest(name, names)
        )


def check_backbone(backbone: Backbone) -> Iterator[str]:
    """Hold a backbone to the contract: names, shapes, a cut after every stage, the meta device.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    network = _build(backbone)
    yield f"builds its stages: {', '.join(backbone.stages)}"
    _check_declared(network, backbone)
    yield f"every one of {_unique_names(network, backbone)} tensors has one name, in one stage"
    size = max(backbone.minimum_size, min(backbone.image_size, 64))
    x = torch.rand(2, 3, size, size)
    network.eval()
    with torch.inference_mode():
        features = _embed(network, backbone, x)
        if features.shape != (2, backbone.features):
            raise PluginError(
                f"{backbone.build}: its pooled output is {tuple(features.shape)}, declared are {backbone.features} features.",
                f"features={features.shape[-1]}",
            )
        yield f"gives {backbone.features} features of {size} px"
        _embed(network, backbone, torch.rand(2, 3, backbone.minimum_size, backbone.minimum_size))
        yield f"takes images of {backbone.minimum_size} px"
        whole = network(x)
        for cut in range(1, len(backbone.stages)):
            if not torch.equal(network.finish(network.run(network.run(x, stop=cut), start=cut)), whole):
                raise PluginError(f"{backbone.build}: cut after {list(backbone.stages)[cut - 1]}, the output is another.")
    yield "gives the same output cut after any stage"
    with torch.device("meta"):
        tensors = _build(backbone).tensors()
    for name, tensor in tensors.items():
        if not tensor.is_meta:
            raise PluginError(
                f"{backbone.build}: {name} is made on a device of its own.", "plans build the network on the meta device"
            )
    yield "builds without memory, for plans"


def check_dataset(name: str, dataset: Dataset, *, data: Path | None = None) -> Iterator[str]:
    """Hold a data set to the contract, with the files that are on this machine.

    Yields:
        What holds, in words.

    Raises:
        PluginError, DataError: what does not.
    """
    options = reading.options(dataset.options, {}, place="data.options")
    found = sources.find_data(name, dataset, options, Places(data=data, offline=True), fetch=False)
    yield f"is found: {len(found.files)} files" + (f" in {found.root}" if found.files else ", made from its options")
    images = datasets.read_data(dataset, found, options)
    if dataset.classes is not None and dataset.classes != len(images.classes):
        raise PluginError(f"{dataset.read}: gives {len(images.classes)} classes, declared are {dataset.classes}.")
    yield f"has {len(images.classes)} classes with names of their own"
    for split, each in images.splits.items():
        yield f"{split}: {len(each.labels)} images with labels in range"


def _build(backbone: Backbone) -> Network:
    options = reading.options(backbone.options, {}, place="backbone.options")
    head = registry.get(Head, "linear")
    return networks.build(
        backbone, head, classes=_CLASSES, backbone_options=options,
        head_options=reading.options(head.options, {}, place="head.options"), seed=0,
    )  # fmt: skip


def _check_declared(network: Network, backbone: Backbone) -> None:
    for stage, modules in backbone.stages.items():
        networks.copied(stage, network.stages[stage])
        held = {name for name, _ in network.stages[stage].named_modules()}
        for module in modules:
            if module not in held:
                raise PluginError(f"{backbone.build}: stage {stage} declares {module}, which it does not hold.")


def _embed(network: Network, backbone: Backbone, x: Tensor) -> Tensor:
    try:
        return network.embed(x)
    except Exception as error:  # whatever a third party's forward raises
        raise PluginError(
            f"{backbone.build}: does not take images of {x.shape[-1]} px: {reason(error)}.",
            f"declared is minimum_size={backbone.minimum_size}",
        ) from error


def _unique_names(network: Network, backbone: Backbone) -> int:
    names = [name for stage in network.stages.values() for name in stage.state_dict()]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise PluginError(f"{backbone.build}: two stages hold {sorted(doubled)[0]}.")
    seen: dict[int, str] = {}
    for owned, parameter in network.owned():
        if id(parameter) in seen:
            raise PluginError(f"{backbone.build}: {owned.name} and {seen[id(parameter)]} are one parameter in two stages.")
        seen[id(parameter)] = owned.name
    return len(names)
