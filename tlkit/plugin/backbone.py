"""A backbone: a network up to its classifier, as stages in order from input to output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from tlkit.errors import PluginError
from tlkit.plugin.options import check_options
from tlkit.plugin.weights import IMAGENET, Convention, Weights

_RESERVED = ("head", "backbone")  # keys of freeze and lr_groups that are no stage


@dataclass(frozen=True)
class AuxHead:
    """An auxiliary classifier: it reads a stage's output during training and is no part of the prediction.

    Attributes:
        build: "module:function"(classes) -> torch.nn.Module from that output to logits (N, classes), random weights. Its own
            parameter names are those that the library has below the classifier's.
        after: The stage that it reads.
        classifier: Name of its last layer within it, dropped on loading, because a file's classes are others.
        weight: Factor of its loss in the sum of all losses.
        minimum_size: Smallest side of the images in pixels that it can be run with.
    """

    build: str
    after: str
    classifier: str
    weight: float
    minimum_size: int = 1


@dataclass(frozen=True)
class Layout:
    """Weights that somebody published under other names than the library's, as a user may have them in a file.

    Attributes:
        marks: Names of tensors by which the file is recognised: it has all of them, and no file of the library's has one.
        input: The convention that the weights were trained with.
    """

    marks: tuple[str, ...]
    input: Convention


@dataclass(frozen=True)
class Backbone:
    """A network up to its classifier, as stages in order from input to output.

    Attributes:
        build: "module:function"; called with the options (or nothing where there are none) it returns
            {stage: torch.nn.Module} in order, random weights, never downloading. Calling the modules one after the other is
            the forward pass, from (N, 3, H, W) to (N, features, h, w), pooled by tlkit, or to (N, features). A module's
            own parameter names are those of the library that the backbone comes from (see `tlkit.network.Stage`).
            A plan calls it on torch's meta device, where tensors have shapes and no values. Code that looks at a value while it
            builds fails there; it is then called on the CPU and what it built is moved, which takes longer and needs no change.
            `forward` is run on the meta device too, and may not look at values.
        stages: Stage -> the library's names of the modules that it owns, and of parameters that lie in none.
        features: Length of the pooled output.
        classifier: The library's name of the classifier, dropped on loading and written when a head like it is exported.
        maps: That classifier reads the feature map, not its mean.
        library: Where the names come from, "torchvision.models.resnet18".
        input: Convention of random weights, so that every arm of a recipe sees the same pixels.
        weights: Named weights.
        aux_heads: Auxiliary classifiers by the library's module name, "AuxLogits".
        options: The plugin's own options.
        image_size: Usual input side in pixels.
        minimum_size: Smallest input side in pixels.
        fixed_size: It takes squares of image_size and nothing else, as LeViT does.
        summary: One line.
        beyond: Module names of what files hold and no stage here: what `until` cut off, which the plugin still builds, and what the
            plugin leaves out, as the second classifier of a distilled network. With any, no head is exported as the classifier.
        flat: The head reads every value of the last stage's output, not its mean over the picture; see `until`.
        rename: "module:function", {name: tensor} -> {name: tensor}, tried on a file of the user's whose names do not fit: it knows the
            names that the library's older versions or other publishers gave.
        layouts: What other publishers' files, whose names `rename` knows, were trained with, by the name of the weights.
        dropout: Probability of the dropout that the library has directly before its classifier and no stage holds; 0 for none. A head
            that `takes_dropout` has it, where it reads what the classifier reads.
        cut: Where the library's network was cut into stages and why there, in two parts, where a plan is to say it.
    """

    build: str
    stages: Mapping[str, tuple[str, ...]]
    features: int
    classifier: str
    maps: bool = False
    library: str = ""
    input: Convention = IMAGENET
    weights: Mapping[str, Weights] = field(default_factory=dict)
    aux_heads: Mapping[str, AuxHead] = field(default_factory=dict)
    options: type[BaseModel] | None = None
    image_size: int = 224
    minimum_size: int = 32
    fixed_size: bool = False
    summary: str = ""
    beyond: tuple[str, ...] = ()
    flat: bool = False
    cut: tuple[str, str] | None = None
    rename: str = ""
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Raise PluginError where a field is of another kind than declared."""
        _check_stages(self.build, self.stages)
        check_options(self.build, self.options)
        for name, aux_head in self.aux_heads.items():
            if aux_head.after not in self.stages:
                raise PluginError(
                    f"{self.build}: auxiliary head {name} reads {aux_head.after}, which is no stage.",
                    f"stages: {', '.join(self.stages)}",
                )
        if not 0 <= self.dropout < 1:
            raise PluginError(f"{self.build}: dropout is {self.dropout!r}.", "a probability, 0 <= p < 1")
        for name in ("features", "image_size", "minimum_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PluginError(f"{self.build}: {name} is {value!r}.", "a whole number, at least 1")

    @property
    def aux_depths(self) -> dict[str, int]:
        """Auxiliary head -> how many leading stages it reads."""
        return {name: 1 + list(self.stages).index(aux_head.after) for name, aux_head in self.aux_heads.items()}

    @property
    def whole(self) -> bool:
        """Whether its head reads what the library's classifier reads: the pooled output of all stages."""
        return not self.beyond and not self.flat

    def owns(self, name: str) -> bool:
        """Return whether a tensor of the library's belongs to a stage, by its name."""
        modules = (module for owned in self.stages.values() for module in owned)
        return any(name == module or name.startswith(f"{module}.") for module in modules)

    def until(self, stage: str | None, *, pooled: bool = True) -> Backbone:
        """Return the backbone up to a stage: the one whose output the head reads.

        Args:
            stage: The last one that is run; None for all.
            pooled: The head reads the mean over the picture of that stage's output, not every value of it.
        """
        names = list(self.stages)
        last = len(names) if stage is None else 1 + names.index(stage)
        aux_heads = {name: aux_head for name, aux_head in self.aux_heads.items() if aux_head.after in names[:last]}
        beyond = [module for name in names[last:] for module in self.stages[name]]
        return replace(
            self,
            stages={name: self.stages[name] for name in names[:last]},
            aux_heads=aux_heads,
            beyond=(*self.beyond, *beyond, *(self.aux_heads.keys() - aux_heads.keys())),
            flat=not pooled,
        )


def _check_stages(build: str, stages: object) -> None:
    if not isinstance(stages, Mapping) or not stages:
        raise PluginError(f"{build}: stages is {stages!r}.", 'stage -> module names: {"stem": ("conv1", "bn1")}')
    for stage, modules in stages.items():
        if not isinstance(stage, str) or stage in _RESERVED or not stage or "." in stage:
            raise PluginError(
                f"{build}: a stage cannot be called {stage}.", "a name; head and backbone mean something in recipes; no dots"
            )
        if not isinstance(modules, tuple) or not all(isinstance(module, str) for module in modules):
            raise PluginError(f"{build}: stage {stage} is {modules!r}.", 'a tuple of module names: ("conv1",)')
