"""A task as data: the functions that differ between kinds of problem. Imports no torch.

The rule: targets and logits have one row per image, and only the functions here know what a row holds. So a new kind of problem
(masks, boxes, numbers) is a new `Task` value in a file of its own, and the engine stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import TlkitError
from tlkit.recipe.recipe import Arm
from tlkit.units import Size

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[Any]  # targets of images as a data set hands them over, one row per image
Strata = tuple[NDArray[np.int64], Sequence[str]]  # (N,) the stratum of every image, and the names of the strata


_AT_ONCE = 1 << 20  # logits that become probabilities at once, 8 MB
# Parts have a multiple of so many images: torch computes what is left of a vector of numbers otherwise, and the last bit may differ.
_VECTOR = 64
_LEAST = 1e-37  # float32 has its logarithm, and itself as a normal number


@dataclass(frozen=True)
class Targets:
    """What the targets of a split are; tasks may share one.

    Attributes:
        words: What an image has, as a message says it: "one class per image".
        array: The array that a data set hands over, as a message says it: "(N,) int64".
        holds: (array) -> whether it is such an array, by dtype and dimensions.
        problem: (targets, number of classes) -> the problem and a hint where a value is out of range; () where none is.
        strata: (targets, class names) -> the stratum of every image. Splits take the same part of every stratum, and a stratum
            without training images cannot be learned.
        count: (targets, number of classes) -> images of every class.
        renumber: (targets, numbers, number of classes) -> the targets where class i has the number numbers[i] among that many.
        batch: (targets) -> tensor (n, ...) as the loss takes them.
        mix: (own, other, shares, number of classes) -> soft targets of images mixed with others, from two results of `batch`; the
            shares (n,) float32 are the part that stays the image's own.
        example: (shape of logits (n, classes, ...)) -> tensor (n, ...) of possible targets, to measure a training step.
        one_class: An image has the number of one class, so targets are (N,).
        move: (result of `batch`, maps (n, 2, 3) float64 of places in a picture, height and width of the result) -> the targets where
            their pictures went, of targets that say where something is; None of others.
        fewest: Classes that a data set has at least.
        masks: An image has a mask in a file, decoded beside its picture: targets of a batch are (n, H, W) uint8, and logits have the
            height and width of the input.
    """

    words: str
    array: str
    holds: Callable[[object], bool]
    problem: Callable[[Rows, int], tuple[str, ...]]
    strata: Callable[[Rows, Sequence[str]], Strata]
    count: Callable[[Rows, int], tuple[int, ...]]
    renumber: Callable[[Rows, Sequence[int], int], Rows]
    batch: Callable[[Rows], Tensor]
    mix: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    example: Callable[[Sequence[int]], Tensor]
    one_class: bool = False
    masks: bool = False
    move: Callable[[Tensor, Tensor, Size], Tensor] | None = None
    fewest: int = 2

    @property
    def whole(self) -> bool:
        """Whether targets say where something is in a picture, so that pictures are put whole on a canvas and not resized to one size."""
        return self.masks or self.move is not None


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
        label: In tables: "balanced accuracy".
        percent: It is a part of the images, shown in percent; else a number from 0 to 1.
    """

    label: str
    percent: bool = False


@dataclass(frozen=True)
class Sampled:
    """What the head reads of some images of a split, kept while all of them were evaluated.

    Attributes:
        rows: (n,) rows of the images in the split, ascending.
        features: (n, F) float32.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """A network's predictions for the images of a split.

    Attributes:
        logits: (N, classes, ...) float32; of a task with a `Reduction`, its rows.
        targets: (N, ...) as `Targets.batch` gives them; of a task with a `Reduction`, (N, 1) zeros.
        task: What they mean.
        positive: Of a binary task, the class that is 1.
        logarithms: The logits are logarithms of probabilities already.
        sampled: Features of some of the images; None where none were kept.
        masks: The class of each pixel (N, H, W) uint8, where masks are predicted and a report shows pictures; None where none were kept.
    """

    logits: Tensor
    targets: Tensor
    task: Task
    positive: int = 1
    logarithms: bool = False
    sampled: Sampled | None = None
    masks: Tensor | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.logits.shape[1]

    @property
    def chosen(self) -> Tensor:
        """What the network chooses: see `Task.chosen`."""
        return self.task.chosen(self.logits)

    @property
    def probabilities(self) -> Tensor:
        """Of every class (N, classes, ...) float64, because float32 rounds many sure predictions to the same 1.0.

        Logarithms of probabilities, which solved heads give, are not normalised again: equal ones would then differ in their
        last bits, and a ranking would see an order where there is none. Images are done in parts, since logits in float64 take as
        much memory as what is returned.
        """
        images = _VECTOR * max(1, _AT_ONCE // max(1, self.logits[:1].numel()) // _VECTOR)
        begin = self._probabilities(slice(images))
        found = begin.new_empty((len(self.logits), *begin.shape[1:]))
        found[:images] = begin
        for first in range(images, len(found), images):
            some = slice(first, first + images)
            found[some] = self._probabilities(some)
        return found

    def _probabilities(self, some: slice) -> Tensor:
        logits = self.logits[some].double()
        return logits.exp() if self.logarithms else self.task.probabilities(logits)


def logarithms(probabilities: Tensor) -> Tensor:
    """Return logarithms of probabilities: logits whose softmax they are. 0 is taken as the smallest number above it."""
    return probabilities.clamp_min(_LEAST).log()


def most_probable(probabilities: NDArray[np.floating[Any]], names: Sequence[str]) -> list[tuple[str, float]]:
    """Return the classes of one image with their probabilities, the most probable first; of a map (classes, ...) its mean."""
    each = probabilities.reshape(len(names), -1)
    means = each[:, 0] if each.shape[1] == 1 else each.mean(1)
    return sorted(zip(names, means.tolist(), strict=True), key=lambda pair: -pair[1])


@dataclass(frozen=True)
class Shown:
    """How a report shows single images of a task.

    Attributes:
        words: (targets or predictions (n, ...), class names) -> what each says; a prediction that says the same as the target is right.
        one_class: An image has one class: its probability is shown, and where the network looked for it.
    """

    words: Callable[[Tensor, Sequence[str]], list[str]]
    one_class: bool


@dataclass(frozen=True)
class Reduction:
    """What evaluation keeps of images in the place of their logits and targets, which would be too large.

    Attributes:
        rows: (logits, targets) -> (n, length) of numbers; `Predictions.logits` of the task are these.
        basic: (predictions) -> mean loss, and the part of the predictions that are correct.
        quality: (predictions) -> how good the prediction is for each image, from 0 to 1; None where that is not defined.
        measure: How the quality of an image is told: "Dice {:.3f}".
    """

    rows: Callable[[Tensor, Tensor], Tensor]
    basic: Callable[[Predictions], tuple[float, float]]
    quality: Callable[[Predictions], list[float | None]]
    measure: str


# (logits, targets, weights of the classes or None, sums of this process to those of all) -> 0-d
Term = Callable[["Tensor", "Tensor", "Tensor | None", Callable[["Tensor"], "Tensor"]], "Tensor"]


@dataclass(frozen=True)
class Task:
    """A kind of problem.

    `logits` are (n, classes, ...) float32, of a head whose output went through `expand`; `targets` are (n, ...), from
    `Targets.batch`, or soft ones from `Targets.mix`. No function of the training step (loss, correct) may ask the device for a
    number, or the step cannot be captured as a graph: `eager` says why not.

    Attributes:
        name: By which heads, plans and run folders name it.
        head: A head of this task, for hints.
        targets: What it learns from.
        outputs: (number of classes) -> the outputs that a head is asked for.
        expand: (head's output, positive class) -> logits with a column for every class.
        loss: (logits, targets, label smoothing, weights of the classes (classes,) or None) -> mean over the images (0-d).
        terms: What may be added to the loss, by the key of [loss] that is its weight: (logits, targets, weights of the classes or
            None, whole) -> 0-d. One that is no mean takes sums over the images, and `whole` makes them those of all processes.
        counts: (targets) -> over how many predictions the loss is a mean (0-d), where images differ in that; None: over the images.
        losses: (logits, targets) -> loss of each image (n,), neither smoothed nor weighted.
        correct: (logits, targets) -> how many predictions are correct (0-d int64), and out of how many: a number where that
            depends on the shape alone, else a tensor (0-d int64).
        probabilities: (logits) -> probability of each class (n, classes, ...).
        logits: (probabilities float64) -> logits of which `probabilities` makes them.
        chosen: (logits) -> what is predicted (n, ...).
        scores: (predictions) -> the metrics beside loss and accuracy; None for one that these images do not define.
        costly: Further metrics, by name, (predictions) -> value or None: of many classes they take as long as the evaluation itself, so
            they are computed for the best epoch alone, and for each epoch only where they choose it.
        details: (predictions, class names) -> what evaluation.json says of every class.
        together: (predictions by split) -> what it says of a split besides, where one split decides for the others.
        reduction: What evaluation keeps of images; None: their logits and targets.
        metrics: How each of `scores` and `costly` is shown, the most telling of each first.
        select_by: The metric that decides which epoch is the best, where a recipe names none: "accuracy", "loss" or one of `metrics`.
        note: (scores) -> what a reader should know of how they were computed; "" for nothing.
        ranked: (probabilities of one image (classes, ...), class names) -> what `predict` shows of it: names with numbers 0 to 1,
            the most important first.
        recipe_problems: (arm) -> what the recipe says that this task cannot do, whatever the images are.
        data_problems: (arm, number of classes, class names or ()) -> what the recipe says that does not fit the classes.
        choices: (arm, class names) -> what the task decides for the person: (what, value, reason).
        shown: How a report shows single images; None: it shows none.
        detections: (logits, height and width of each image) -> the "boxes" (d, 4), "scores" (d,) and "labels" (d,) of each image, the
            surest first, of a task that finds objects; None of others.
        eager: Why no training step can be captured as a graph; "" where it can.
    """

    name: str
    head: str
    targets: Targets
    outputs: Callable[[int], int]
    expand: Callable[[Tensor, int], Tensor]
    loss: Callable[[Tensor, Tensor, float, Tensor | None], Tensor]
    losses: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], tuple[Tensor, int | Tensor]]
    probabilities: Callable[[Tensor], Tensor]
    chosen: Callable[[Tensor], Tensor]
    scores: Callable[[Predictions], Mapping[str, float | None]]
    details: Callable[[Predictions, Sequence[str]], dict[str, Any]]
    logits: Callable[[Tensor], Tensor] = logarithms
    terms: Mapping[str, Term] = field(default_factory=dict)
    counts: Callable[[Tensor], Tensor] | None = None
    together: Callable[[Mapping[str, Predictions]], Mapping[str, Mapping[str, Any]]] = lambda predictions: {}
    reduction: Reduction | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    costly: Mapping[str, Callable[[Predictions], float | None]] = field(default_factory=dict)
    select_by: str = "accuracy"
    note: Callable[[Mapping[str, float]], str] = lambda scores: ""
    ranked: Callable[[NDArray[np.floating[Any]], Sequence[str]], list[tuple[str, float]]] = most_probable
    recipe_problems: Callable[[Arm], list[TlkitError]] = lambda arm: []
    data_problems: Callable[[Arm, int, Sequence[str]], list[TlkitError]] = lambda arm, classes, names: []
    choices: Callable[[Arm, Sequence[str]], list[tuple[str, str, str]]] = lambda arm, names: []
    shown: Shown | None = None
    detections: Callable[[Tensor, Sequence[Size]], list[dict[str, Tensor]]] | None = None
    eager: str = ""

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics that may decide which epoch is the best."""
        return ("accuracy", "loss", *self.metrics)

    def judged_by(self, chosen: str) -> str:
        """Return the metric that each epoch is shown by, where this one chooses the best.

        It is accuracy of a task that is judged by it. A costly metric that does not choose is not computed after each epoch: in its
        place is the first of the others.
        """
        if self.select_by == "accuracy" or chosen in self.metrics:
            return self.select_by if self.select_by == "accuracy" else chosen
        return next((name for name in (self.select_by, *self.metrics) if name not in self.costly), "accuracy")


def same_outputs(classes: int) -> int:
    """Return one output for every class: `Task.outputs` of most tasks."""
    return classes


def objects(kind: type, targets: object) -> bool:
    """Whether targets are an array (N,) of objects of a class: `Targets.holds` of several tasks."""
    if not isinstance(targets, np.ndarray) or targets.dtype != object or targets.ndim != 1:
        return False
    return all(isinstance(each, kind) for each in targets)


def one_stratum(targets: Rows, names: Sequence[str]) -> Strata:
    """All images are of one stratum: `Targets.strata` where an image may show several classes, and so be counted as none of them."""
    return np.zeros(len(targets), np.int64), ("any",)


def same_logits(logits: Tensor, positive: int) -> Tensor:
    """Return a head's output as it is: `Task.expand` of most tasks."""
    return logits
