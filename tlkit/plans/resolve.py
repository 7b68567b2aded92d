"""Find the plugins that a recipe names, check their options, and report the problems of all arms together. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tlkit.errors import RecipeError, TlkitError
from tlkit.plans import (
    adaptation,
    arm_checks,
    arm_weights,
    band_checks,
    ensembles,
    head_starts,
    loggers,
    mask_checks,
    network_plugins,
    preprocessing,
    search_checks,
    solved_heads,
    unlabelled,
)
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.plan import Learns
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import Backbone, Convention, Dataset, Head, registry
from tlkit.plugin.registry import Plugin
from tlkit.recipe import augmentations, expansion, parsing
from tlkit.recipe.messages import dotted
from tlkit.recipe.recipe import UNKNOWN, Arm, Recipe
from tlkit.sources import weight_files
from tlkit.sources.places import Places


def load(path: Path, settings: Sequence[str], places: Places) -> tuple[Recipe, dict[str, Resolved]]:
    """Read a recipe file and resolve its arms.

    Args:
        path: The TOML file.
        settings: "key=value" each.
        places: Where paths begin.

    Raises:
        RecipeError: with every problem of tables and of names together.
    """
    try:
        recipe = parsing.read(path, settings)
    except RecipeError as error:
        problems = list(error.problems)
        if isinstance(error.rest, Recipe):
            try:
                resolve(error.rest, places, where=str(path))
            except RecipeError as more:
                problems += more.problems
        raise RecipeError(problems) from error
    problems = _logger_problems(recipe, where=str(path))
    try:
        arms = resolve(recipe, places, where=str(path))
    except RecipeError as error:
        problems += search_checks.problems(recipe, where=str(path), resolver=None)
        raise RecipeError([*problems, *error.problems]) from error

    def resolver(arm: Arm) -> list[TlkitError]:
        outcome = _Resolver(recipe.name, "trial", arm, places, folds=recipe.folds).run()
        return [] if isinstance(outcome, Resolved) else outcome

    problems += search_checks.problems(recipe, where=str(path), resolver=resolver)
    if problems:
        raise RecipeError(problems)
    return recipe, arms


def _logger_problems(recipe: Recipe, *, where: str) -> list[TlkitError]:
    """Return what is wrong with [[loggers]] of a recipe."""
    try:
        loggers.choose(recipe.loggers, where=where)
    except RecipeError as error:
        return list(error.problems)
    return []


def resolve(recipe: Recipe, places: Places, *, where: str, dataset: Dataset | None = None) -> dict[str, Resolved]:
    """Resolve every arm.

    Args:
        recipe: As read.
        places: Where paths begin.
        where: Begins every message, usually the recipe's file.
        dataset: Stands for the data set that the recipe names, where the images are in memory.

    Raises:
        RecipeError: with every problem of every arm; one that all arms share is said once.
    """
    resolved: dict[str, Resolved] = {}
    found: dict[str, list[str]] = {}
    problems: dict[str, TlkitError] = {}
    for name, arm in recipe.arms.items():
        outcome = _Resolver(recipe.name, name, arm, places, dataset, folds=recipe.folds).run()
        if isinstance(outcome, Resolved):
            resolved[name] = outcome
            continue
        for problem in outcome:
            problems[str(problem)] = problem
            found.setdefault(str(problem), []).append(name)
    if not problems:
        together = [] if recipe.ensemble is None else list(ensembles.problems(recipe.ensemble, resolved))
        if together:
            raise RecipeError(TlkitError(f"{where}: {problem.problem}", *problem.hints) for problem in together)
        return resolved
    raise RecipeError(
        TlkitError(
            f"{where}: {'' if len(found[text]) == len(recipe.arms) else _arms(found[text])}{problem.problem}", *problem.hints
        )
        for text, problem in problems.items()
    )


def resolve_arm(arm: Arm, *, name: str, recipe: str, places: Places, where: str, folds: int | None = None) -> Resolved:
    """Resolve one arm, as a plan or a run folder holds it.

    Args:
        arm: Its tables.
        name: Of the arm.
        recipe: Name of the recipe.
        places: Where paths begin.
        where: Begins every message.
        folds: Number of folds of the recipe's cross-validation; None without.

    Raises:
        RecipeError: with every problem of it.
    """
    outcome = _Resolver(recipe, name, arm, places, folds=folds).run()
    if isinstance(outcome, Resolved):
        return outcome
    raise RecipeError(TlkitError(f"{where}: {problem.problem}", *problem.hints) for problem in outcome)


def _arms(names: list[str]) -> str:
    return f"arms.{names[0]}: " if len(names) == 1 else f"arms {', '.join(names)}: "


@dataclass
class _Resolver:
    """Resolve one arm, and collect its problems."""

    recipe: str
    name: str
    arm: Arm
    places: Places
    dataset: Dataset | None = None
    folds: int | None = None
    problems: list[TlkitError] = dataclasses.field(default_factory=list)

    def run(self) -> Resolved | list[TlkitError]:
        backbone = self._plugin(Backbone, self.arm.backbone.name, "backbone.name")
        if backbone is not None:
            self.arm = arm_weights.with_usual_weights(self.arm, backbone)
        arm = self.arm
        dataset = self.dataset or self._plugin(Dataset, arm.data.name, "data.name")
        head = self._plugin(Head, arm.head.kind, "head.kind")
        options: dict[str, BaseModel | None] = {}
        for table, plugin in (("backbone", backbone), ("data", dataset), ("head", head)):
            options[table] = self._options(table, plugin)
        self.problems += arm_checks.arm_problems(arm)
        self.problems += band_checks.problems(arm, dataset if self.dataset is None else None)
        if self.folds is not None:
            self.problems += arm_checks.fold_problems(arm)
        also = self._also()
        adapt, more = self._adapt(), self._unlabelled()
        convention = self._convention(backbone) if backbone is not None else None
        unused: tuple[str, ...] = ()
        without: tuple[str, ...] = ()
        learns: Learns = "steps"
        if backbone is not None and head is not None:
            wrong = list(solved_heads.problems(arm.head, head, backbone, arm.backbone.name))
            self.problems += wrong
            backbone = backbone if wrong else backbone.until(arm.head.embed, pooled=arm.head.pooled)
            options["head"] = network_plugins.with_dropout(options["head"], head, backbone)
            learns = "solved" if head.solve else "nothing" if arm_checks.only_evaluated(arm, backbone) else "steps"
            self.problems += arm_checks.task_problems(arm, head)
            if not self.problems:
                self.problems += mask_checks.problems(arm, head)
            if learns == "solved":
                self.problems += solved_heads.conflicts(arm)
            self.problems += head_starts.problems(arm, head, learns=learns, source_free=adapt is not None and adapt.source_free)
            if not self.problems:
                arm = arm_checks.selected_by(arm, head)
            if adapt is not None:
                self.problems += (
                    adaptation.conflicts(arm, adapt, head, solved=learns == "solved") if learns != "nothing" else []
                )
                adapt, without = adaptation.settled(adapt, learns=learns)
                arm = arm.model_copy(update={"adapt": adapt.table if adapt is not None else None})
            if arm.data.unlabelled is not None:
                self.problems += unlabelled.problems(arm, head, learns=learns)
                adapt = unlabelled.adaptation(arm.data.unlabelled, learns=learns) if learns != "nothing" else adapt
                more = more if learns != "nothing" else None
            if learns != "steps":
                arm, unused = solved_heads.alone(arm, solved=learns == "solved")
            unused = (*unused, *without)
        if arm.data.crop is not None and arm.data.fit != "crop":
            unused = (*unused, f'data.crop: data.fit = "{arm.data.fit}" does not crop')
        if arm.data.channels is not None and arm.data.options.get("range") is not None:
            unused = (*unused, "data.options.range: with data.channels values are taken as they are in the files")
        if arm.data.crop == 1 and arm.data.fit == "crop" and augmentations.needs_room(arm.data.augment):
            unused = (
                *unused,
                "data.augment: random_crop leaves every picture as it is, since data.crop = 1.0 cuts nothing off",
            )
        if backbone is not None:
            if learns == "steps":
                arm, left = expansion.expanded(mask_checks.with_crops(arm), backbone.stages)
                unused = (*unused, *left)
            self.problems += arm_checks.backbone_problems(
                arm, backbone, steps=learns == "steps", domain=adapt is not None and adapt.domain_head is not None
            )
        if self.problems or backbone is None or dataset is None or head is None or convention is None:
            return self.problems
        trained = (
            convention
            if arm.backbone.weights in backbone.weights or arm.backbone.weights.startswith(weight_files.RUN)
            else None
        )
        spread = preprocessing.spread(convention)
        if arm.data.channels is not None:
            convention = preprocessing.of_bands(arm.backbone.input, convention)
        elif arm.backbone.input is not None:
            convention = preprocessing.given(arm.backbone.input, convention)
        if arm.data.crop is not None:
            convention = dataclasses.replace(convention, crop=arm.data.crop)
        _, size = arm_checks.sizes(arm, backbone.image_size)[-1]
        return Resolved(
            self.recipe, self.name, _filled(arm, options, also, more), backbone, dataset, head,
            options["backbone"], options["data"], options["head"], convention, size,
            trained, unused, learns, also, self.folds, spread, adapt, more,
        )  # fmt: skip

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
        self.problems += adaptation.problems(self.arm, table)
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
            self.problems.append(TlkitError(f"{place}: {error.problem}", *error.hints))
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
