"""An arm of a recipe together with the plugins that it names. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from tlkit.plans import compared_stages
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.network_plugins import NetworkPlugins
from tlkit.plans.plan import Learns
from tlkit.plans.unlabelled import NAME as UNLABELLED
from tlkit.plugin import Backbone, Convention, Dataset, Head
from tlkit.recipe.recipe import Arm
from tlkit.units import Size


@dataclass(frozen=True)
class Source:
    """A data set that a recipe names, with its checked options."""

    name: str
    dataset: Dataset
    options: BaseModel | None


@dataclass(frozen=True)
class Resolved:
    """An arm of a recipe, together with the plugins that it names.

    Attributes:
        recipe: Name of the recipe.
        name: Name of the arm.
        arm: Its tables, with the defaults of plugin options filled in.
        backbone: The backbone plugin.
        dataset: The data set plugin.
        head: The head plugin.
        backbone_options: The backbone's options, checked; None if it has none.
        data_options: The data set's options, checked; None if it has none.
        head_options: The head's options, checked; None if it has none.
        convention: The preprocessing that is used.
        image_size: Height and width of the network's input, pixels; of several sizes the last.
        trained: The preprocessing that the weights were trained with; None for random weights and files, where it is not known.
        unused: A line for each key that has no effect. If nothing is trained by steps, `arm` has the default of such a key.
        learns: "steps" if parameters are trained, "solved" if the head is solved, "nothing" if an earlier run is only evaluated.
        also: The data sets of [also], which are only evaluated.
        unlabelled: The data set of data.unlabelled; None without, and where nothing learns.
        folds: Number of folds of the recipe's cross-validation; None without.
        adaptation: [adapt] with its method, or what stands for data.unlabelled; None without, and where nothing learns.
        canvas: Height and width of the canvas that whole pictures are put on, for a task of masks; None of others, and before the
            pictures are known.
        tile: Height and width of the tiles in which larger canvases are evaluated, whole strides; None where they are evaluated whole.
        spread: Standard deviation of the network's input that bands get where it is measured: see `preprocessing.spread`.
        where: Begins messages about it, usually the recipe's file.
    """

    recipe: str
    name: str
    arm: Arm
    backbone: Backbone
    dataset: Dataset
    head: Head
    backbone_options: BaseModel | None
    data_options: BaseModel | None
    head_options: BaseModel | None
    convention: Convention
    image_size: Size
    trained: Convention | None = None
    unused: tuple[str, ...] = ()
    learns: Learns = "steps"
    also: Mapping[str, Source] = field(default_factory=dict)
    folds: int | None = None
    spread: float = 1.0
    adaptation: Adaptation | None = None
    unlabelled: Source | None = None
    canvas: Size | None = None
    tile: int | None = None
    where: str = ""

    @property
    def source(self) -> Source:
        """The data set of [data]."""
        return Source(self.arm.data.name, self.dataset, self.data_options)

    @property
    def sources(self) -> dict[str, Source]:
        """Every data set of the arm, by the table that names it: "data", "also.NAME", "data.unlabelled"."""
        also = {f"also.{name}": source for name, source in self.also.items()}
        return {"data": self.source, **also, **({} if self.unlabelled is None else {UNLABELLED: self.unlabelled})}

    @property
    def domain_head(self) -> tuple[str, BaseModel | None] | None:
        """What builds the domain head of [adapt], and its options; None without one, and where nothing is trained by steps."""
        return self.adaptation.domain_head if self.adaptation is not None and self.learns == "steps" else None

    @property
    def compared(self) -> tuple[int, ...]:
        """The stages, from 0, whose features the method of [adapt] compares beside what the head reads; () where no step is taken."""
        return compared_stages.numbers(self.adaptation, tuple(self.backbone.stages)) if self.learns == "steps" else ()

    @property
    def source_free(self) -> bool:
        """Whether the training images are those of the target of [adapt], and no image of [data] is trained on."""
        return self.adaptation is not None and self.adaptation.source_free

    def adaptation_to(self, name: str) -> Adaptation | None:
        """Return the adaptation of an arm that adapts to a data set of [also]; else None."""
        found = self.adaptation
        return found if found is not None and found.table.target == name else None

    @property
    def channels(self) -> int:
        """Return the number of channels of the network's input: 3 colours, or the bands."""
        return self.arm.data.channels or 3

    @property
    def network_plugins(self) -> NetworkPlugins:
        """Return what the arm's network is built from."""
        return NetworkPlugins(self.backbone, self.head, self.backbone_options, self.head_options)
