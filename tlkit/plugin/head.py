"""A head: what stands on the backbone's features, trained or fitted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tlkit.errors import PluginError
from tlkit.plugin.backbone import Backbone
from tlkit.plugin.options import check_options


@dataclass(frozen=True, eq=False)
class Solving:
    """What a solved head's plugin needs to know about the training images.

    Attributes:
        labels: (N,) int64, the class of each image.
        features: Values of each image.
        classes: How many there are; some may have no training image.
        seed: The run's seed.
        groups: (N,) names of what belongs together, patients for instance, or None. A search for a parameter must not fit the
            estimator to some images of a group and score it on others.
        select_by: The metric that a search for a parameter goes by: "accuracy", "balanced_accuracy", "f1", "auroc" or "loss".
    """

    labels: NDArray[np.int64]
    features: int
    classes: int
    seed: int
    groups: NDArray[np.str_] | None = None
    select_by: str = "accuracy"

    @property
    def images(self) -> int:
        """Number of images, N."""
        return len(self.labels)

    @property
    def smallest(self) -> int:
        """Number of images of the smallest class, of those that have any."""
        counts = np.bincount(self.labels, minlength=self.classes)
        return int(counts[counts > 0].min())


@dataclass(frozen=True)
class FeatureMap:
    """A feature map that a head of maps reads.

    Attributes:
        channels: Of it.
        stride: Pixels of the image from one of its columns to the next.
    """

    channels: int
    stride: int


@dataclass(frozen=True)
class Head:
    """A head: reads features and predicts classes. It is trained, or solved once on the features of all training images.

    Attributes:
        build: "module:function"(features, classes, options) -> torch.nn.Module from (N, features) to logits (N, classes); of a
            binary head, which is asked for one class, (N, 1). "" for a solved one. Of a head that reads several stages, or answers
            for every pixel, `features` is a tuple of `FeatureMap`, and the module is called with the maps (N, channels, h, w) in the
            same order and with the images' height and width: `forward(maps, size)`.
        solve: "module:function"(options, solving: Solving) -> an estimator as scikit-learn's are: `fit` on (N, features) float32
            and labels (N,), `classes_`, and predict_proba or decision_function; of a search `best_estimator_` is kept, and
            `best_params_` and `best_score_` are told. "" for a trained one.
        options: The plugin's own options.
        linear: Its own tensors are the weight and bias of one layer with an output for every class, so they can be exported under
            the backbone's classifier.
        starts_solved: It is one linear layer on the features of the last stage, whose parameters `weight` (outputs, features) and `bias`
            may begin as those of a logistic regression: head.start = "solved".
        maps: It reads the feature map (N, features, h, w), not its mean.
        reads: Which stages' outputs it is given: "last", that of the last stage, or "strides", that of the last stage of every
            stride, shallow to deep.
        pixels: It answers for every pixel: logits (N, classes, H, W) of the images' height and width.
        task: The kind of problem, by its name in `tlkit.tasks`: "single_label", "binary", "multi_label". It determines the loss,
            the metrics, the targets that it learns from, and how many outputs the head is asked for.
        takes_dropout: Its option `dropout`, if a recipe does not give it, is the one that the backbone's library has before its
            classifier.
        searched: The option that a solved head finds by a search where the recipe does not give it; "" for none.
        searched_by: Metrics that the search can go by; () where that is not known before the head is fitted.
        trusted: Full names of classes that the estimator's file may hold beside scikit-learn's, "package.module.Class".
        summary: One line.
    """

    build: str = ""
    options: type[BaseModel] | None = None
    linear: bool = False
    maps: bool = False
    summary: str = ""
    solve: str = ""
    task: str = "single_label"
    trusted: tuple[str, ...] = ()
    takes_dropout: bool = False
    searched: str = ""
    searched_by: tuple[str, ...] = ()
    reads: Literal["last", "strides"] = "last"
    pixels: bool = False
    starts_solved: bool = False

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model, or it is neither trained nor solved."""
        check_options(self.target, self.options)
        if bool(self.build) == bool(self.solve):
            raise PluginError(f"head {self.target or self.summary}: is to be either trained or solved.", "build=, or solve=")
        if self.starts_solved and (self.solve or self.maps or self.several):
            raise PluginError(f"head {self.target}: starts_solved is True, but it is no linear layer on features.")
        if self.reads not in ("last", "strides"):
            raise PluginError(f"head {self.target}: reads is {self.reads!r}.", '"last", or "strides" for a map of every stride')
        if self.several and (self.solve or self.linear or self.takes_dropout):
            kind = "is solved" if self.solve else "is linear" if self.linear else "takes the dropout of a classifier"
            raise PluginError(f"head {self.target}: {kind}, so it cannot read the maps of several stages or answer for pixels.")

    @property
    def target(self) -> str:
        """The "module:function" that makes the head: `build` or `solve`."""
        return self.build or self.solve

    @property
    def several(self) -> bool:
        """Whether it is given a sequence of maps and the size of the images, not the one output of the last stage."""
        return self.reads == "strides" or self.pixels

    def usual_dropout(self, backbone: Backbone) -> float:
        """Return the dropout that the head has because the backbone's library has it there; 0 for none."""
        return backbone.dropout if self.takes_dropout and self.maps == backbone.maps and backbone.whole else 0.0

    def fits(self, backbone: Backbone) -> bool:
        """Return whether the head has the form of the library's classifier, so that the library can load its weights."""
        return self.linear and self.maps == backbone.maps and backbone.whole
