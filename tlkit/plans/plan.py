"""The plan: what will happen, as plain data that prints and compares; `plan_json` writes and reads it. Imports no torch.

The rule: `apply` does exactly what the plan says, and each choice that was made for the person carries its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tlkit.plans.licences import Licence
from tlkit.plugin import Convention
from tlkit.recipe.maps import BESIDE, HEAD
from tlkit.recipe.recipe import Arm
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat, PrefixPlan, When
from tlkit.record.kernels import ChosenKernel
from tlkit.record.selection import USUAL
from tlkit.record.timings import SharedSpeed
from tlkit.units import Size

FORMAT = 10

# How an arm learns: step by step, by fitting its head once on embeddings, or not at all.
Learns = Literal["steps", "solved", "nothing"]


@dataclass(frozen=True)
class ParameterPlan:
    """One parameter.

    Attributes:
        name: The library's; the head's begin with "head.".
        stage: The stage that owns it, or "head".
        shape: Shape of the tensor.
        trains_from: Epochs done when it begins to train, 0 for always; None for never.
        group: The key of [lr_groups] that gives its rate; None where no key reaches it.
    """

    name: str
    stage: str
    shape: tuple[int, ...]
    trains_from: int | None
    group: str | None


@dataclass(frozen=True)
class StagePlan:
    """One stage, or the head.

    Attributes:
        name: Of the stage.
        parameters: Scalars in it.
        trained: Scalars that train in some phase.
        trains: In words: "never", "always", "from epoch 4", "partly"; of a solved head "solved".
        groups: Keys of [lr_groups] that its trained parameters follow.
        peak_lr: Their peak rates, in the same order; None where a range test chooses it before training.
        flops: Floating-point operations of one image forward, a multiply-add counted as two.
        output: Shape of its output for one image.
    """

    name: str
    parameters: int
    trained: int
    trains: str
    groups: tuple[str, ...]
    peak_lr: tuple[float | None, ...]
    flops: int
    output: tuple[int, ...]


@dataclass(frozen=True)
class GroupPlan:
    """One parameter group of the optimizer: a key of [lr_groups] that something follows.

    Attributes:
        name: The key.
        lr: Peak learning rate; None where a range test chooses it before training.
        weight_decay: Of the group.
        momentum: Of the group; None where the optimizer has none.
        parameters: Scalars in it.
    """

    name: str
    lr: float | None
    weight_decay: float
    momentum: float | None
    parameters: int


@dataclass(frozen=True)
class PhasePlan:
    """Epochs in which the same parameters train.

    Attributes:
        first: First epoch, from 1.
        last: Last epoch.
        prefix: Leading stages that run as one fixed function, without gradients.
        trained: Scalars that train.
        steps: Optimizer steps in it.
        reason: Why the cut is where it is.
        fixed: How the prefix runs; None where there is none.
        aux_heads: Auxiliary classifiers that run, with the weight of their losses.
        image_size: Height and width of its training images, where that is not the plan's image_size.
        normalised: Channels that BatchNorm normalises by the batch, of all layers together.
    """

    first: int
    last: int
    prefix: tuple[str, ...]
    trained: int
    steps: int
    reason: str
    fixed: PrefixPlan | None = None
    aux_heads: Mapping[str, float] = field(default_factory=dict)
    image_size: Size | None = None
    normalised: int = 0

    @property
    def epochs(self) -> int:
        """How many epochs it has."""
        return self.last - self.first + 1

    def views(self, period: int) -> tuple[int, ...]:
        """Return which of so many fixed views the phase's epochs use, ascending; epoch 1 uses view 0."""
        begin = (self.first - 1) % period
        return tuple(sorted((begin + offset) % period for offset in range(self.views_used(period))))

    def views_used(self, period: int) -> int:
        """Return how many of so many fixed views the phase's epochs use."""
        return min(period, self.epochs)


@dataclass(frozen=True)
class SizePlan:
    """The network on training images of another size than the plan's.

    Attributes:
        image_size: Height and width, pixels.
        stages: As the plan's, for this size.
        flops_per_image: Forward, a multiply-add counted as two.
    """

    image_size: Size
    stages: tuple[StagePlan, ...]
    flops_per_image: int


@dataclass(frozen=True)
class ImagesPlan:
    """How many images each split has after [data.split], and how that is known.

    Attributes:
        also: Of other data sets that are evaluated, by the recipe's name for them; {} where they are not known.
        source: "counted" from what is on this machine, "nominal" of the official data set, or "unknown".
        target: Of the target of [adapt], that are used without labels or with; or of data.unlabelled.
        labelled: Of these, whose labels are used.
    """

    train: int
    validation: int
    test: int
    source: Literal["counted", "nominal", "unknown"]
    also: Mapping[str, int] = field(default_factory=dict)
    target: int = 0
    labelled: int = 0

    @property
    def held_out(self) -> int:
        """Images that are evaluated and not trained on."""
        return self.validation + self.test + sum(self.also.values())


@dataclass(frozen=True)
class MemoryPlan:
    """Estimated peak while training, in bytes; what Python and torch themselves hold is not in it.

    Attributes:
        weights: Parameters and buffers, those of the fixed prefix once more, which is a folded copy, and its largest stage with
            BatchNorm while that is folded.
        gradients: Of what trains in the largest phase.
        optimizer: State of every trained parameter, with its running mean.
        activations: Kept for the backward pass of one batch, and the largest that pass; on a GPU also those of the graph, or
            a picture in tiles if that is more, and those of an evaluation.
        images: One batch of input; on a GPU also the inputs that captured steps and evaluations read, and what augmenting a batch takes.
        embeddings: Of a solved head, what it reads of all training images, and the copy that its estimator works on; in the memory of
            the processor, also where the network is on a GPU.
        resident: On a GPU, the pictures of all images. They stay there where that leaves training its memory, so they are in no sum.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    images: int
    embeddings: int = 0
    resident: int = 0

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.network + self.embeddings

    @property
    def network(self) -> int:
        """Sum of the parts that are where the network is."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.images


@dataclass(frozen=True)
class Choice:
    """Something that was decided for the person, and why."""

    what: str
    value: str
    reason: str


@dataclass(frozen=True)
class ProcessesPlan:
    """How a run is shared by several processes.

    Attributes:
        count: How many there are.
        batch_norm: Whether BatchNorm normalises over the images of one process, or of all.
        summed: Bytes that a step adds up over the processes, at most: gradients of what trains, and BatchNorm's running statistics.
        sent: Bytes that each process sends in a step: 2 (count - 1) / count times as many in a ring, and what BatchNorm over all
            processes, or a method of domain adaptation, exchanges beside it.
        measured: Runs like this one on this machine, by their number of processes.
    """

    count: int
    batch_norm: Literal["local", "sync"]
    summed: int
    sent: int
    measured: tuple[SharedSpeed, ...] = ()


# Returns a plan as HTML, for notebooks. `tlkit.plan` sets it: nothing here draws.
to_html: Callable[[Plan], str] | None = None


@dataclass(frozen=True)
class Plan:
    """What one arm of a recipe will do, for one seed and, with cross-validation, one fold.

    Attributes:
        recipe: Its name.
        arm: Its name.
        tables: The arm, complete.
        classes: How many.
        image_size: Height and width of the network's input, pixels; of training images in phases that name no other.
        batch_size: Images of one forward pass.
        input: How pixels reach the network.
        stages: In order, then the head, then the auxiliary classifiers together as "head.aux".
        parameters: Every one, in order.
        groups: Of the optimizer.
        phases: In order.
        images: Of each split.
        steps_per_epoch: Optimizer steps.
        flops_per_image: Forward, a multiply-add counted as two.
        memory: Estimated peak.
        unused: What the recipe says that has no effect.
        warnings: What a person should think twice about.
        choices: What was decided for the person.
        pools: The head reads pooled features, not the map.
        reads: Numbers of the stages whose maps the head reads, from 0; () where it reads what the last stage gives.
        compared: Numbers of the stages whose means over the picture a method of domain adaptation compares, from 0.
        task: Name of the kind of problem, in `tlkit.tasks`.
        positive: The class that is 1, for a binary head.
        class_weights: What an image of each class counts in the loss; () for 1.
        learns: Whether parameters train step by step, or the head is fitted once on the embeddings, or nothing changes.
        compute_format: Of the training step, throughout the run.
        evaluation_format: In which the trained stages are evaluated; None for that of the training step.
        kernels: The gradients of convolutions that other kernels than the library's compute, throughout the run.
        folder: Where the recipe's relative paths begin.
        folds: Number of folds of the recipe's cross-validation; None without.
        sizes: Other sizes of images: of the phases that name them, and of the canvas.
        licences: Of the weights and the data set.
        tested: When test images, and those of `also`, are evaluated: after every epoch, or at the end for the best one.
        canvas: Height and width of the canvas on which whole pictures are evaluated, for a task of masks; None of others.
        tile: Height and width of the tiles in which canvases are evaluated that are larger; None where they are evaluated whole.
        processes: How several processes share the run; None where one has it all.
        format: Of this record.
    """

    recipe: str
    arm: str
    tables: Arm
    classes: int
    image_size: Size
    batch_size: int
    input: Convention
    stages: tuple[StagePlan, ...]
    parameters: tuple[ParameterPlan, ...]
    groups: tuple[GroupPlan, ...]
    phases: tuple[PhasePlan, ...]
    images: ImagesPlan
    steps_per_epoch: int
    flops_per_image: int
    memory: MemoryPlan
    unused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    pools: bool = True
    reads: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    task: str = "single_label"
    positive: int = 1
    class_weights: tuple[float, ...] = ()
    learns: Learns = "steps"
    compute_format: ComputeFormat = PLAIN_FORMAT
    evaluation_format: ComputeFormat | None = None
    kernels: tuple[ChosenKernel, ...] = ()
    folder: str = "."
    licences: tuple[Licence, ...] = ()
    tested: When = "every"
    folds: int | None = None
    sizes: tuple[SizePlan, ...] = ()
    processes: ProcessesPlan | None = None
    canvas: Size | None = None
    tile: int | None = None
    format: int = field(default=FORMAT)

    def _repr_html_(self) -> str | None:
        return None if to_html is None else to_html(self)

    @property
    def depth(self) -> int:
        """Stages of the backbone."""
        return sum(stage.name not in (HEAD, *BESIDE) for stage in self.stages)

    @property
    def total(self) -> int:
        """Scalars of the network."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def trained(self) -> int:
        """Scalars that train in some phase."""
        return sum(stage.trained for stage in self.stages)

    @property
    def epochs(self) -> int:
        """Of the schedule."""
        return self.tables.schedule.epochs

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    @property
    def select_by(self) -> str:
        """The metric on validation images that decides which epoch is the best."""
        return USUAL if self.tables.select_by == "auto" else self.tables.select_by

    @property
    def pixels(self) -> int:
        """Pixels of the largest image that the network is given."""
        return max(math.prod(size) for size in (self.image_size, *(each.image_size for each in self.sizes)))

    @property
    def evaluation_batch(self) -> int:
        """Images that are evaluated at a time: with a canvas as many pixels as are trained on, more or less; in tiles one."""
        if self.canvas is None:
            return self.batch_size
        if self.tile is not None:
            return 1
        return max(1, self.batch_size * math.prod(self.image_size) // math.prod(self.canvas))

    def at(self, size: Size | None) -> Plan:
        """Return the plan as it is for images of one of its sizes; None is its own."""
        other = next((each for each in self.sizes if each.image_size == size), None)
        if other is None:
            return self
        return replace(self, image_size=other.image_size, stages=other.stages, flops_per_image=other.flops_per_image, sizes=())

    def phase(self, epoch: int) -> PhasePlan:
        """Return the phase of an epoch, from 1."""
        return next(phase for phase in self.phases if phase.first <= epoch <= phase.last)


def trains_in(trains_from: int | None, epoch: int) -> bool:
    """Whether a parameter trains in an epoch, from 1."""
    return trains_from is not None and trains_from < epoch
