"""What a plugin is made of: plain values that name where the code is.

Importing this module, or a plugin, imports no torch: functions are named as "module:function" and loaded when needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module, metadata
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tlkit.errors import DataError, PluginError, TlkitError, reason
from tlkit.labelled import Found, Images, Split
from tlkit.trained import CAFFE, HUB, IMAGENET, Convention, Download, Weights, pytorch

__all__ = [
    "CAFFE", "HUB", "IMAGENET", "Backbone", "Convention", "Dataset", "Download", "Family", "Found", "Head", "Images", "Options", "Solving",
    "Split", "Tap", "Task", "Weights", "call", "pytorch",
]  # fmt: skip


class Options(BaseModel):
    """Base of a plugin's own options: strict, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# What an image's label is: one class; one of two classes, told by one number; or any number of classes.
Task = Literal["single_label", "binary", "multi_label"]
_RESERVED = ("head", "backbone")  # keys of freeze and lr_groups that are no stage


@dataclass(frozen=True)
class Tap:
    """An auxiliary classifier: it reads a stage's output, helps to train what lies before it, and is no part of the answer.

    Attributes:
        build: "module:function"(classes) -> torch.nn.Module from that output to logits (N, classes), random weights. Its own
            parameter names are those that the library has below the tap's.
        after: The stage that it reads.
        classifier: Name of its last layer below the tap's own, dropped on loading: a file's classes are others.
        weight: What its loss counts beside the main loss.
        minimum_size: Smallest side of the images in pixels that it can be run with.
    """

    build: str
    after: str
    classifier: str
    weight: float
    minimum_size: int = 1


@dataclass(frozen=True)
class Backbone:
    """A network up to its classifier, as stages in order from input to output.

    Attributes:
        build: "module:function"; called with the options (or nothing where there are none) it returns
            {stage: torch.nn.Module} in order, random weights, never downloading. Calling the modules one after the other is
            the forward pass, from (N, 3, H, W) to (N, features, h, w), pooled by tlkit, or to (N, features). A module's
            own parameter names are those of the library that the backbone comes from (see `tlkit.network.Stage`).
        stages: Stage -> the library's names of the modules that it owns, and of parameters that lie in none.
        features: Length of the pooled output.
        classifier: The library's name of the classifier, dropped on loading and written when a head like it is exported.
        maps: That classifier reads the feature map, not its mean.
        library: Where the names come from, "torchvision.models.resnet18".
        input: Convention of random weights, so that every arm of a recipe sees the same pixels.
        weights: Named weights.
        taps: Auxiliary classifiers by the library's module name, "AuxLogits".
        options: The plugin's own options.
        image_size: Usual input side in pixels.
        minimum_size: Smallest input side in pixels.
        summary: One line.
        beyond: Module names of what files hold and no stage here: what `until` cut off, which the plugin still builds, and what the
            plugin leaves out, as the second classifier of a distilled network. With any, no head is exported as the classifier.
        flat: The head reads every value of the last stage's output, not its mean over the picture; see `until`.
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
    taps: Mapping[str, Tap] = field(default_factory=dict)
    options: type[BaseModel] | None = None
    image_size: int = 224
    minimum_size: int = 32
    summary: str = ""
    beyond: tuple[str, ...] = ()
    flat: bool = False
    cut: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Raise PluginError where a field is of another kind than declared."""
        _check_stages(self.build, self.stages)
        _check_options(self.build, self.options)
        for name, tap in self.taps.items():
            if tap.after not in self.stages:
                raise PluginError(
                    f"{self.build}: tap {name} reads {tap.after}, which is no stage.", f"stages: {', '.join(self.stages)}"
                )
        for name in ("features", "image_size", "minimum_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PluginError(f"{self.build}: {name} is {value!r}.", "a whole number, at least 1")

    @property
    def tapped(self) -> dict[str, int]:
        """Tap -> how many leading stages it reads."""
        return {name: 1 + list(self.stages).index(tap.after) for name, tap in self.taps.items()}

    @property
    def whole(self) -> bool:
        """Whether its head reads what the library's classifier reads, `features` values."""
        return not self.beyond and not self.flat

    def owns(self, name: str) -> bool:
        """Return whether a tensor of the library's belongs to a stage, by its name."""
        modules = (module for owned in self.stages.values() for module in owned)
        return any(name == module or name.startswith(f"{module}.") for module in modules)

    def until(self, stage: str | None, *, pooled: bool = True) -> Backbone:
        """Return it with another embedding point.

        Args:
            stage: The last one that is run; None for all.
            pooled: The head reads the mean over the picture of that stage's output, not every value of it.
        """
        names = list(self.stages)
        last = len(names) if stage is None else 1 + names.index(stage)
        taps = {name: tap for name, tap in self.taps.items() if tap.after in names[:last]}
        beyond = [module for name in names[last:] for module in self.stages[name]]
        return replace(
            self,
            stages={name: self.stages[name] for name in names[:last]},
            taps=taps,
            beyond=(*self.beyond, *beyond, *(self.taps.keys() - taps.keys())),
            flat=not pooled,
        )


@dataclass(frozen=True)
class Solving:
    """What the maker of a solved head is told of the embeddings that it will be fitted on.

    Attributes:
        images: How many, N.
        features: Values of each.
        classes: How many there are.
        smallest: Images of the class that has fewest, of those that have any: more folds than these cannot hold all of them.
        seed: Of the run.
    """

    images: int
    features: int
    classes: int
    smallest: int
    seed: int


@dataclass(frozen=True)
class Head:
    """What stands on the pooled features: trained, or solved once on the embeddings of all training images.

    Attributes:
        build: "module:function"(features, classes, options) -> torch.nn.Module from (N, features) to logits (N, classes); of a
            binary head, which is asked for one class, (N, 1). "" for a solved one.
        solve: "module:function"(options, solving: Solving) -> an estimator as scikit-learn's are: `fit` on (N, features) float32
            and labels (N,), `classes_`, and predict_proba or decision_function; of a search `best_estimator_` is kept, and
            `best_params_` and `best_score_` are told. "" for a trained one.
        options: The plugin's own options.
        linear: Its own tensors are the weight and bias of one layer, so they can be exported under the backbone's classifier.
        maps: It reads the feature map (N, features, h, w), not its mean.
        task: What its answers mean.
        trusted: Full names of classes that the estimator's file may hold beside scikit-learn's, "package.module.Class".
        summary: One line.
    """

    build: str = ""
    options: type[BaseModel] | None = None
    linear: bool = False
    maps: bool = False
    summary: str = ""
    solve: str = ""
    task: Task = "single_label"
    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model, or it is neither trained nor solved."""
        _check_options(self.target, self.options)
        if bool(self.build) == bool(self.solve):
            raise PluginError(f"head {self.target or self.summary}: is to be either trained or solved.", "build=, or solve=")

    @property
    def target(self) -> str:
        """The function that makes it."""
        return self.build or self.solve

    def fits(self, backbone: Backbone) -> bool:
        """Return whether it is the classifier that the backbone's library has, so that the library can load it."""
        return self.linear and self.maps == backbone.maps and backbone.whole and self.task != "binary"


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    The core finds the folder (--data, the option `path`, $TLKIT_DATA, the cache), downloads what is missing when it may, and hands
    the folder to `read`. `read` raises `tlkit.errors.DataError` for what is wrong in the files.

    Attributes:
        read: "module:function"(found, options) -> Images. `options` is an instance of the model below, or None.
        files: Names, relative to the folder, that must be there; () for a data set made from its options alone.
        find: "module:function"(folder, options) -> Found, where the names are not known beforehand (image folders). It may
            find a folder below the one given, and raises `DataError` or `DataMissing`.
        subfolder: Name of the folder that the official archive unpacks to; the files may lie in it or without it.
        downloads: What to fetch when the files are missing.
        inside: Folder inside an installed package, "package/sub", for a data set that is shipped.
        nominal: Images per split of the official data set, for a plan without images.
        classes: Number of classes where it is fixed.
        options: The plugin's own options; a field `path` names the folder.
        licence: Of the images.
        summary: One line.
    """

    read: str
    files: tuple[str, ...] = ()
    find: str = ""
    subfolder: str = ""
    downloads: tuple[Download, ...] = ()
    inside: str = ""
    nominal: Mapping[str, int] = field(default_factory=dict)
    classes: int | None = None
    options: type[BaseModel] | None = None
    licence: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model."""
        _check_options(self.read, self.options)


@dataclass(frozen=True)
class Family:
    """Plugins of one kind under names of their own: the entry point `medmnist` offers "medmnist:pneumoniamnist" and others.

    Attributes:
        make: "module:function"(name) -> Backbone, Dataset or Head; it raises `tlkit.errors.PluginError` for a name that it has not.
        names: The usual ones, as `tlkit show` lists them; there may be more.
        summary: One line.
    """

    make: str
    names: tuple[str, ...]
    summary: str = ""


def call(target: str, *arguments: object) -> object:
    """Call the function that "module:function" names, and say whose fault it is when that fails.

    Raises:
        PluginError: the module does not import, has no such function, or the function fails.
        DataError: it could not read a file.
        TlkitError: as the function says it.
    """
    module, _, name = target.partition(":")
    try:
        function: Callable[..., object] = getattr(import_module(module), name)
    except (KeyboardInterrupt, TlkitError):
        raise
    except BaseException as error:  # whatever a third party's import raises, SystemExit too
        hint = (
            f"the plugin names a function that {module} has not"
            if _lacks(error, module, name)
            else f"reinstall {_owner(module)}"
        )
        raise PluginError(f"{target}: cannot be loaded: {reason(error)}.", hint) from error
    try:
        return function(*arguments)
    except (KeyboardInterrupt, TlkitError):
        raise
    except BaseException as error:  # likewise
        if isinstance(error, OSError) and error.filename:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error
        raise PluginError(f"{target}: failed: {reason(error)}.", f"it comes with {_owner(module)}") from error


def _lacks(error: BaseException, module: str, name: str) -> bool:
    return isinstance(error, AttributeError) and module in sys.modules and not hasattr(sys.modules[module], name)


def _owner(module: str) -> str:
    """The distribution that holds a module; the module's package where that is not known."""
    top = module.partition(".")[0]
    try:
        return metadata.packages_distributions()[top][0]
    except Exception:  # none says that it holds it, or another one's metadata is damaged
        return top


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


def _check_options(target: str, options: object) -> None:
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginError(f"{target}: options is {options!r}.", "a subclass of tlkit.plugin.Options, or None")
