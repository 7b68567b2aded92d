"""Stages and a head as one module, whose parameters keep the names of the library that the backbone comes from.

The rule: running the stages in order is the forward pass, so the network can be cut after any of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import plugin, tasks
from tlkit.errors import PluginError, reason
from tlkit.plugin import Backbone, Convention, Head
from tlkit.recipe.maps import AUX, HEAD, Parameter
from tlkit.tasks import Task
from tlkit.tasks.single_label import SINGLE_LABEL
from tlkit.units import Size, pixels

Module = TypeVar("Module", bound=nn.Module)


class Stage(nn.Module):
    """Modules run in order, each registered below its dotted name: Stage({"features.0": conv}) owns "features.0.weight".

    Args:
        modules: Dotted name -> module, in running order.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._order = tuple(modules)
        for path, module in modules.items():
            *parents, name = path.split(".")
            parent: nn.Module = self
            for part in parents:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Run the modules in order."""
        for path in self._order:
            x = self.get_submodule(path)(x)
        return x


def cut(network: nn.Module, stages: Mapping[str, Sequence[str]], **added: nn.Module) -> dict[str, nn.Module]:
    """Cut a library's network into stages; modules that no stage names are left out.

    Args:
        network: As the library builds it.
        stages: Stage -> the library's module names in running order, those without parameters too.
        added: Modules that the library has as code in its forward; named in `stages` like the others. They own nothing.
    """
    return {
        stage: Stage({name: added[name] if name in added else network.get_submodule(name) for name in names})
        for stage, names in stages.items()
    }


class Rescale(nn.Module):
    """Change the mean and std of normalised pixels, as the first operation of a stage; it has no parameters.

    Args:
        before: Convention of the input.
        mean: Of every channel of the output.
        std: Of every channel of the output.
    """

    def __init__(self, before: Convention, *, mean: float, std: float) -> None:
        super().__init__()
        scales = [each / std for each in before.std]
        shifts = [(each - mean) / std for each in before.mean]
        for name, values in (("scale", scales), ("shift", shifts)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rescale (N, C, H, W)."""
        return x * self.get_buffer("scale") + self.get_buffer("shift")


class Network(nn.Module):
    """A backbone's stages, a head, and auxiliary classifiers that help to train.

    Args:
        stages: Stage name -> module, in order; a module's own parameter names are the library's.
        head: From what it reads of the last stage to the outputs that its task asks for, (N, outputs, ...).
        aux_heads: Auxiliary classifiers by the library's name, from the output of a stage to logits (N, classes).
        aux_depths: Auxiliary classifier -> how many leading stages it reads.
        reads: What the head reads of a feature map (N, C, h, w): its mean over the picture (N, C), every value (N, C * h * w), or
            the map itself.
        task: The kind of problem: it makes logits of the head's outputs.
        positive: Of a binary head, the class that its one logit is of.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        aux_heads: Mapping[str, nn.Module] | None = None,
        aux_depths: Mapping[str, int] | None = None,
        *,
        reads: Literal["mean", "values", "map"] = "mean",
        task: Task = SINGLE_LABEL,
        positive: int = 1,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.aux_heads = nn.ModuleDict(aux_heads)
        self.reads = reads
        self.task = task
        self.positive = positive
        self._tapped = dict(aux_depths or {})

    @property
    def pools(self) -> bool:
        """Whether the head reads the mean over the picture."""
        return self.reads == "mean"

    @property
    def logarithms(self) -> bool:
        """Whether the head gives logarithms of probabilities, as some solved ones do."""
        return bool(getattr(self.head, "logarithms", False))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of a batch (N, 3, H, W), normalised as the weights want it."""
        return self.finish(self.run(x))

    def run(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        """Run the stages from start up to, not including, stop; by default all of them."""
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, ...) of the last stage's output, with a column for every class: see `Task.expand`."""
        return self.task.expand(self.head(self.read(x)), self.positive)

    def read(self, x: Tensor) -> Tensor:
        """Return the head's input from the last stage's output: its mean, all values, or the map."""
        return pool(x) if self.pools else torch.flatten(x, 1) if self.reads == "values" else x

    def forward_with_aux(self, x: Tensor, *, aux_heads: Sequence[str], start: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, classes) of the stages from `start` and the head, and those of some auxiliary classifiers."""
        aside = {}
        for index, stage in enumerate(list(self.stages.values())[start:], start=start + 1):
            x = stage(x)
            for name in aux_heads:
                if self._tapped[name] == index:
                    aside[name] = self.aux_heads[name](x)
        return self.finish(x), aside

    def embed(self, x: Tensor, *, at: str | None = None, pooled: bool = True) -> Tensor:
        """Return the output of a stage, by default the last: its mean over the image (N, C), or the map (N, C, h, w)."""
        stop = None if at is None else 1 + list(self.stages).index(at)
        x = self.run(x, stop=stop)
        return pool(x) if pooled else x

    def owned(self) -> Iterator[tuple[Parameter, nn.Parameter]]:
        """Every parameter once, in order: its name in the library and its stage, and itself; then those of the head and of the auxiliary heads."""
        for stage, module in self.stages.items():
            for name, parameter in module.named_parameters():
                yield Parameter(name, stage), parameter
        for name, parameter in self.head.named_parameters():
            yield Parameter(f"{HEAD}.{name}", HEAD), parameter
        for name, parameter in self.aux_heads.named_parameters():
            yield Parameter(name, AUX), parameter

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer by the library's name, the head's under "head."."""
        named = {name: tensor for module in self.stages.values() for name, tensor in module.state_dict().items()}
        return (
            named | {f"{HEAD}.{name}": tensor for name, tensor in self.head.state_dict().items()} | self.aux_heads.state_dict()
        )


def pool(x: Tensor) -> Tensor:
    """Average a feature map (N, C, h, w) over the image to (N, C); features (N, C) are returned as they are."""
    return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1) if x.ndim == 4 else x


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
        image_size: Height and width of the input, pixels; the backbone's usual square where not given. It counts where the head
            reads every value.
        positive: Of a binary head, the class that is 1.

    Raises:
        PluginError: the plugin does not build, or builds other stages than it declares.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = _stages(backbone, backbone_options)
        features = _features(stages, backbone, image_size or (backbone.image_size, backbone.image_size))
        torch.manual_seed(seed + 1)
        top = _head(head, features, classes, head_options)
        torch.manual_seed(seed + 2)
        aux_heads = {name: build_module(aux_head.build, classes) for name, aux_head in backbone.aux_heads.items()}
    reads: Literal["mean", "values", "map"] = "map" if head.maps else "values" if backbone.flat else "mean"
    network = Network(stages, top, aux_heads, backbone.aux_depths, reads=reads, task=tasks.get(head.task), positive=positive)
    for parameter, _ in network.owned():
        declared = backbone.stages.get(parameter.stage, (HEAD, *aux_heads))
        if not any(parameter.name == module or parameter.name.startswith(f"{module}.") for module in declared):
            raise PluginError(
                f"{backbone.build}: stage {parameter.stage} holds {parameter.name}, which it does not declare.",
                f"it declares {', '.join(declared)}",
            )
    return network


def build_module(target: str, *arguments: object) -> nn.Module:
    """Build the module that a plugin's "module:function" makes, on the default device.

    Raises:
        PluginError: it fails, or makes something else.
    """
    return _module(target, _call(target, *arguments))


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


def _head(head: Head, features: int, classes: int, options: BaseModel | None) -> nn.Module:
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


def _features(stages: Mapping[str, nn.Module], backbone: Backbone, image_size: Size) -> int:
    """Return how many values the head reads, computed from shapes if the plugin does not say it."""
    if backbone.whole:
        return backbone.features
    x = torch.empty(1, 3, *image_size, device="meta")
    for name, module in stages.items():
        tensors = {key: tensor.to("meta") for key, tensor in chain(module.named_parameters(), module.named_buffers())}
        module.eval()  # in training mode a BatchNorm refuses one image
        try:
            with torch.no_grad():
                x = torch.func.functional_call(module, tensors, (x,))
        except Exception as error:  # whatever a third party's forward raises
            raise PluginError(
                f"{backbone.build}: stage {name} fails on the meta device with images of {pixels(image_size)}: {reason(error)}.",
                "features are counted on shapes alone: forward may not look at values",
            ) from error
        module.train()
    return (torch.flatten(x, 1) if backbone.flat else pool(x)).shape[1]


def copied(stage: str, module: Module) -> Module:
    """Return a copy of a stage that shares nothing with it.

    Raises:
        PluginError: it holds what cannot be copied, as the old torch.nn.utils.weight_norm leaves it.
    """
    try:
        return copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:  # of tensors with a history, and of locks, files, generators
        raise PluginError(
            f"stage {stage}: cannot be copied: {reason(error)}.",
            "of torch.nn.utils.weight_norm: use torch.nn.utils.parametrizations.weight_norm, which can be",
        ) from error
