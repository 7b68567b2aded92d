"""Build a network from a backbone plugin and a head plugin, and check that it is what they declare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import plugin, tasks
from tlkit.errors import PluginError
from tlkit.network import input_layer, shapes
from tlkit.network.network import Network, Reads
from tlkit.network.packing import Packing
from tlkit.network.seeding import seed_, seeded
from tlkit.plugin import Backbone, FeatureMap, Head
from tlkit.plugin.calling import blamed
from tlkit.recipe.maps import HEAD
from tlkit.units import Size


def build(
    backbone: Backbone,
    head: Head,
    *,
    classes: int,
    backbone_options: BaseModel | None,
    head_options: BaseModel | None,
    seed: int,
    image_size: Size | None = None,
    positive: int = 1,
    channels: int = 3,
    domain_head: tuple[str, BaseModel | None] | None = None,
    compared: Sequence[int] = (),
) -> Network:
    """Build a network with random weights that depend on the seed alone, or on shapes alone under torch.device("meta").

    The head draws from a generator state of its own, so arms of one seed begin with the same head where shapes agree; so do the
    auxiliary classifiers.

    Args:
        backbone: The plugin.
        head: The plugin.
        classes: Length of the output.
        backbone_options: Checked.
        head_options: Checked.
        seed: The run's seed.
        image_size: Height and width of the input, pixels; by default the backbone's usual square. It matters only if
            the head reads every value.
        positive: The class that is 1, for a binary head.
        channels: Of the input: colours, or bands, for which the first convolution is made anew.
        domain_head: What a method of domain adaptation trains beside the head: "module:function"(features, classes, options), and its
            checked options.
        compared: The stages, from 0 and ascending, whose means over the picture such a method compares.

    Raises:
        TlkitError: the backbone cannot take so many channels.
        PluginError: the plugin does not build, or builds other stages than it declares.
    """
    with seeded(seed), blamed(backbone.build), blamed(head.target):
        stages = _stages(backbone, backbone_options)
        input_layer.widen_(stages, channels, backbone=backbone.library or backbone.build)
        size = image_size or (backbone.image_size, backbone.image_size)
        read = shapes.read(stages, backbone, head, size, channels=channels) if head.several else {}
        features = tuple(read.values()) or _features(stages, backbone, size, channels)
        seed_(seed + 1)
        top = _head(head, features, classes, head_options)
        seed_(seed + 2)
        aux_heads = {name: build_module(aux_head.build, classes) for name, aux_head in backbone.aux_heads.items()}
        seed_(seed + 3)
        beside = None if domain_head is None else build_module(domain_head[0], features, classes, domain_head[1])
    reads: Reads = "maps" if head.several else "map" if head.maps else "values" if backbone.flat else "mean"
    task = tasks.get(head.task)
    if task.targets.masks != head.pixels:
        raise PluginError(
            f"head {head.target}: has pixels={head.pixels}; the task {task.name} asks for one answer of each "
            f"{'pixel' if task.targets.masks else 'image'}.",
            f"pixels={task.targets.masks}",
        )
    network = Network(
        stages,
        top,
        aux_heads,
        backbone.aux_depths,
        reads=reads,
        task=task,
        positive=positive,
        domain_head=beside,
        packing=Packing(tuple(read) or compared, channels, means=not read and bool(compared)),
    )
    for parameter, _ in network.owned():
        declared = backbone.stages.get(parameter.stage, (HEAD, *aux_heads))
        if not any(parameter.name == module or parameter.name.startswith(f"{module}.") for module in declared):
            raise PluginError(
                f"{backbone.build}: stage {parameter.stage} holds {parameter.name}, which it does not declare.",
                f"it declares {', '.join(declared)}",
            )
    _refuse_shared_names(network, backbone, head)
    return network


def build_module(target: str, *arguments: object) -> nn.Module:
    """Build the module that a plugin's "module:function" makes, on the default device.

    Raises:
        PluginError: it fails, or makes something else.
    """
    return _module(target, _call(target, *arguments))


def _refuse_shared_names(network: Network, backbone: Backbone, head: Head) -> None:
    """Refuse two tensors of one name: a file of weights could hold only one of them."""
    holders = {name: f"stage {stage}" for stage, module in network.stages.items() for name in module.state_dict()}
    if len(holders) < sum(len(module.state_dict()) for module in network.stages.values()):
        names = [name for module in network.stages.values() for name in module.state_dict()]
        raise PluginError(f"{backbone.build}: two stages hold {next(name for name in names if names.count(name) > 1)}.")
    for name in network.aux_heads.state_dict():
        if name in holders:
            raise PluginError(f"{backbone.build}: {holders[name]} and an auxiliary head both hold {name}.")
    for name in network.head.state_dict():
        full = f"{HEAD}.{name}"
        if full in holders or backbone.owns(full):
            raise PluginError(
                f"{head.target}: the head's {name} would be called {full} in a weights file, as a tensor of "
                f"{holders.get(full, 'the backbone')} is.",
                f"call the head's module something other than {name.partition('.')[0]}",
            )


class PlaceholderHead(nn.Module):
    """A placeholder for a head that is solved later: all logits are 0, no parameters.

    Args:
        classes: Length of the output.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, classes) zeros."""
        return x.new_zeros(len(x), self.classes)


def _stages(backbone: Backbone, options: BaseModel | None) -> dict[str, nn.Module]:
    """Build the stages up to the embedding point."""
    built = _call(backbone.build, *([] if options is None else [options]))
    declared = list(backbone.stages)
    names = list(built) if isinstance(built, Mapping) else built
    if not isinstance(built, Mapping) or list(built)[: len(declared) if backbone.beyond else None] != declared:
        raise PluginError(f"{backbone.build}: builds the stages {names}.", f"it declares {declared}")
    return {name: _module(backbone.build, built[name]) for name in declared}


def _head(head: Head, features: int | tuple[FeatureMap, ...], classes: int, options: BaseModel | None) -> nn.Module:
    if head.solve:
        return PlaceholderHead(classes)
    return build_module(head.build, features, tasks.get(head.task).outputs(classes), options)


def _call(target: str, *arguments: object) -> object:
    """Call a plugin's build function; on the CPU where it fails on the meta device, because it looks at values.

    torchvision's RegNet rounds the widths of its stages with tensors, for instance.

    Raises:
        PluginError: it fails on the CPU too.
    """
    try:
        return plugin.call(target, *arguments)
    except PluginError:
        if torch.get_default_device().type != "meta":
            raise
    with torch.device("cpu"):
        return plugin.call(target, *arguments)


def _module(target: str, built: object) -> nn.Module:
    """Check that a plugin built a module, and bring it to the meta device where that is the default."""
    if not isinstance(built, nn.Module):
        raise PluginError(f"{target}: gave {type(built).__name__}, not a torch.nn.Module.")
    return built.to("meta") if torch.get_default_device().type == "meta" else built


def _features(stages: Mapping[str, nn.Module], backbone: Backbone, image_size: Size, channels: int) -> int:
    """Return how many values the head reads, computed from shapes if the plugin does not say it."""
    if backbone.whole:
        return backbone.features
    last = shapes.of_stages(stages, backbone, image_size, channels=channels)[-1]
    return math.prod(last) if backbone.flat else last[0]
