"""Resolve one arm: find the plugins that it names, check their options, and collect its problems. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tlkit.errors import RecipeError, TlkitError
from tlkit.plans import (
    adaptation,
    adaptation_checks,
    arm_checks,
    arm_weights,
    band_checks,
    compared_stages,
    head_starts,
    mask_checks,
    network_plugins,
    preprocessing,
    solved_heads,
    unlabelled,
)
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.plan import Learns
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import Backbone, Convention, Dataset, Head, registry
from tlkit.plugin.registry import Plugin
from tlkit.recipe import expansion, parsing
from tlkit.recipe.messages import dotted
from tlkit.recipe.recipe import UNKNOWN, Arm
from tlkit.sources.places import Places


@dataclass
class ArmResolver:
    """Resolve one arm, once.

    Attributes:
        recipe: Name of the recipe.
        name: Name of the arm.
        arm: Its tables; they change as they are resolved.
        places: Where paths begin.
        dataset: Stands for the data set that the arm names, where the images are in memory.
        folds: Number of folds of the recipe's cross-validation; None without.
        problems: Those found so far.
        unused: A line for each key that has no effect.
        learns: What the arm learns by: see `Resolved`.
        adapt: [adapt] with its method, or what stands for data.unlabelled; None without.
        more: The data set of data.unlabelled; None without.
    """

    recipe: str
    name: str
    arm: Arm
    places: Places
    dataset: Dataset | None = None
    folds: int | None = None
    problems: list[TlkitError] = field(default_factory=list)
    unused: tuple[str, ...] = ()
    learns: Learns = "steps"
    adapt: Adaptation | None = None
    more: Source | None = None

    def run(self) -> Resolved | list[TlkitError]:
        """Return the arm with its plugins, or all its problems: an empty list where a name could not be read, which is said elsewhere."""
        backbone = self._plugin(Backbone, self.arm.backbone.name, "backbone.name")
        if backbone is not None:
            self.arm = arm_weights.with_usual_weights(self.arm, backbone)
        dataset = self.dataset or self._plugin(Dataset, self.arm.data.name, "data.name")
        head = self._plugin(Head, self.arm.head.kind, "head.kind")
        options: dict[str, BaseModel | None] = {}
        for table, plugin in (("backbone", backbone), ("data", dataset), ("head", head)):
            options[table] = self._options(table, plugin)
        self.problems += arm_checks.arm_problems(self.arm)
        self.problems += band_checks.problems(self.arm, dataset if self.dataset is None else None)
        if self.folds is not None:
            self.problems += arm_checks.fold_problems(self.arm)
        also = self._also()
        self.adapt, self.more = self._adapt(), self._unlabelled()
        trained = self._convention(backbone) if backbone is not None else None
        if backbone is not None and head is not None:
            backbone = self._settle_head(backbone, head)
            options["head"] = network_plugins.with_dropout(options["head"], head, backbone)
            self._settle_learning(head)
        self.unused += tuple(arm_checks.unused_of_data(self.arm))
        if backbone is not None:
            self._settle_stages(backbone)
        if self.problems or backbone is None or dataset is None or head is None:
            return self.problems
        convention = trained or backbone.input
        _, size = arm_checks.sizes(self.arm, backbone.image_size)[-1]
        return Resolved(
            self.recipe, self.name, _filled(self.arm, options, also, self.more), backbone, dataset, head,
            options["backbone"], options["data"], options["head"], preprocessing.used(self.arm, convention), size,
            trained, self.unused, self.learns, also, self.folds,
            preprocessing.spread(convention), self.adapt, self.more,
        )  # fmt: skip

    def _settle_head(self, backbone: Backbone, head: Head) -> Backbone:
        """Check the head against the backbone and the other tables; return the backbone, cut at the embedding point."""
        name = self.arm.backbone.name
        wrong = list(solved_heads.problems(self.arm.head, head, backbone, name))
        self.problems += wrong
        backbone = backbone if wrong else backbone.until(self.arm.head.embed, pooled=self.arm.head.pooled)
        self.learns = "solved" if head.solve else "nothing" if arm_checks.only_evaluated(self.arm, backbone) else "steps"
        self.problems += arm_checks.task_problems(self.arm, head)
        if not self.problems:
            self.problems += mask_checks.problems(self.arm, head)
        if self.learns == "solved":
            self.problems += solved_heads.conflicts(self.arm)
        source_free = self.adapt is not None and self.adapt.source_free
        self.problems += head_starts.problems(self.arm, head, learns=self.learns, source_free=source_free)
        if not self.problems:
            self.arm = arm_checks.selected_by(self.arm, head)
            if self.learns == "steps":
                self.arm = mask_checks.with_crops(self.arm, head)
        return backbone

    def _settle_learning(self, head: Head) -> None:
        """Check images of another domain and images without labels, and leave out the keys that have no effect on what learns."""
        solved, nothing = self.learns == "solved", self.learns == "nothing"
        without: tuple[str, ...] = ()
        if self.adapt is not None:
            if not nothing:
                self.problems += adaptation_checks.conflicts(self.arm, self.adapt, head, solved=solved)
            self.adapt, without = adaptation.settled(self.adapt, learns=self.learns)
            self.arm = self.arm.model_copy(update={"adapt": self.adapt.table if self.adapt is not None else None})
        table = self.arm.data.unlabelled
        if table is not None:
            self.problems += unlabelled.problems(self.arm, head, learns=self.learns)
            if nothing:
                self.more = None
            else:
                self.adapt = unlabelled.adaptation(table, learns=self.learns)
        if self.learns != "steps":
            self.arm, self.unused = solved_heads.alone(self.arm, solved=solved)
        self.unused += without

    def _settle_stages(self, backbone: Backbone) -> None:
        """Write out the keys that stand for several stages, and check the sizes of images and the two maps."""
        steps = self.learns == "steps"
        if steps:
            self.arm, left = expansion.expanded(self.arm, backbone.stages)
            self.unused += tuple(left)
        domain = self.adapt is not None and self.adapt.domain_head is not None
        if steps and self.adapt is not None:
            self.problems += compared_stages.problems(self.adapt, tuple(backbone.stages), self.arm.backbone.name)
        self.problems += arm_checks.backbone_problems(self.arm, backbone, steps=steps, domain=domain)

    def _also(self) -> dict[str, Source]:
        found = {}
        for name, table in self.arm.also.items():
            if table.of_own_images:
                continue
            source = self._source(table.name, table.options, dotted("also", name))
            if source is not None:
                found[name] = source
        return found

    def _unlabelled(self) -> Source | None:
        table = self.arm.data.unlabelled
        return None if table is None else self._source(table.name, table.options, unlabelled.NAME)

    def _source(self, name: str, given: dict[str, Any], table: str) -> Source | None:
        """Return a data set beside that of [data], which a table of the recipe names."""
        dataset = self._plugin(Dataset, name, f"{table}.name")
        if dataset is None:
            return None
        try:
            place = f"{table}.options"
            return Source(
                name, dataset, parsing.options(dataset.options, self._with_channels(given, dataset, place), place=place)
            )
        except RecipeError as error:
            self.problems += error.problems
            return None

    def _adapt(self) -> Adaptation | None:
        table = self.arm.adapt
        if table is None:
            return None
        self.problems += adaptation_checks.problems(self.arm, table)
        try:
            return adaptation.look_up(table)
        except RecipeError as error:
            self.problems += error.problems
            return None

    def _plugin(self, kind: type[Plugin], name: str, place: str) -> Plugin | None:
        if name == UNKNOWN:
            return None
        try:
            return registry.get(kind, name)
        except TlkitError as error:
            self.problems.append(error.at(place))
            return None

    def _options(self, table: str, plugin: Backbone | Dataset | Head | None) -> BaseModel | None:
        if plugin is None:
            return None
        try:
            values = getattr(self.arm, table).options
            if table == "data" and self.places.data is not None and _needs_path(plugin.options):
                values = {"path": str(self.places.data), **values}
            if isinstance(plugin, Dataset):
                values = self._with_channels(values, plugin, "data.options")
            return parsing.options(plugin.options, values, place=f"{table}.options")
        except RecipeError as error:
            self.problems += error.problems
            return None

    def _with_channels(self, values: dict[str, Any], dataset: Dataset, place: str) -> dict[str, Any]:
        """Return a data set's options with data.channels, where it can read bands."""
        if "channels" in values and band_checks.reads_bands(dataset):
            raise RecipeError(
                [TlkitError(f"{place}.channels: is a key of the table [data].", "data.channels, beside data.name")]
            )
        bands = self.arm.data.channels
        return values if bands is None or not band_checks.reads_bands(dataset) else {**values, "channels": bands}

    def _convention(self, backbone: Backbone) -> Convention | None:
        try:
            return arm_weights.convention(self.arm, backbone, self.places)
        except TlkitError as error:
            self.problems.append(error)
            return None


def _needs_path(model: type[BaseModel] | None) -> bool:
    """Whether a data set's options have a path that must be given, which --data may give."""
    field = model.model_fields.get("path") if model is not None else None
    return field is not None and field.is_required()


def _filled(arm: Arm, options: dict[str, BaseModel | None], also: Mapping[str, Source], more: Source | None) -> Arm:
    """Return the arm with the defaults of its plugins' options, as its digest and resolved.toml need them."""
    changed: dict[str, Any] = {"also": dict(arm.also)}
    for name, source in also.items():
        if source.options is not None:
            checked = source.options.model_dump(mode="json", exclude_none=True)
            changed["also"][name] = arm.also[name].model_copy(update={"options": checked})
    for table, model in options.items():
        if model is not None:
            changed[table] = getattr(arm, table).model_copy(
                update={"options": model.model_dump(mode="json", exclude_none=True)}
            )
    if more is not None and more.options is not None and arm.data.unlabelled is not None:
        checked = more.options.model_dump(mode="json", exclude_none=True)
        named = arm.data.unlabelled.model_copy(update={"options": checked})
        changed["data"] = changed.get("data", arm.data).model_copy(update={"unlabelled": named})
    return arm.model_copy(update=changed)
