"""What the search of a checked recipe will try, as data. Imports neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tlkit import tasks
from tlkit.plugin import Head, registry
from tlkit.recipe import search_space
from tlkit.recipe.messages import shown
from tlkit.recipe.recipe import Arm, Recipe
from tlkit.recipe.search import Search, SpaceEntry
from tlkit.recipe.search_space import Parameter
from tlkit.tasks import Task

BEST = "{arm}-best"  # the name under which results show the best trial


@dataclass(frozen=True)
class SearchPlan:
    """What a search will try.

    Attributes:
        arm: Its name.
        base: The arm as it is written.
        seed: With which trials are trained.
        metric: On validation images, of which a loss is minimised and everything else is maximised.
        trials: How many in all, with trial 0.
        timeout: Seconds of all trials together after which none begins; None for no limit.
        sampler: tpe, random, grid or cmaes.
        pruner: hyperband, median or none.
        at_once: Trials that begin together; the values and the end of each follow from the trials before all of them.
        parameters: Each after those that its `when` names.
        written: The values of trial 0, of those keys in whose values they lie.
        combinations: How many there are; None where a range has endlessly many.
        epochs: The most that a trial may train for.
    """

    arm: str
    base: Arm
    seed: int
    metric: str
    trials: int
    timeout: float | None
    sampler: Literal["tpe", "random", "grid", "cmaes"]
    pruner: Literal["hyperband", "median", "none"]
    at_once: int
    parameters: tuple[Parameter, ...]
    written: Mapping[str, Any] = field(default_factory=dict)
    combinations: int | None = None
    epochs: int = 1

    @property
    def most(self) -> int:
        """The most trials that there can be: a grid ends when all combinations were tried."""
        if self.sampler != "grid" or self.combinations is None:
            return self.trials
        complete = all(each.key in self.written for each in self.parameters if each.active(self.written))
        return min(self.trials, self.combinations if complete else self.combinations + 1)

    @property
    def best_name(self) -> str:
        """The name under which results show the best trial."""
        return BEST.format(arm=self.arm)


def planned(recipe: Recipe) -> SearchPlan | None:
    """Return what the search of a checked recipe will try; None for a recipe without one."""
    if recipe.search is None:
        return None
    search, name = recipe.search, arm_name(recipe, recipe.search)
    arm, (parameters, _) = recipe.arms[name], search_space.ordered(entries(search))
    task = task_of(arm)
    metric = arm.select_by if search.metric == "auto" else search.metric
    epochs = [max(each.values or (each.high,)) for each in parameters if each.path == ("schedule", "epochs")]
    return SearchPlan(
        name,
        arm,
        recipe.seeds[0],
        task.select_by if metric == "auto" and task is not None else metric,
        search.trials,
        None if search.timeout is None else float(search.timeout),
        search.sampler,
        search.pruner,
        search.at_once,
        parameters,
        search_space.written(arm, parameters),
        search_space.count(parameters, most=1_000_000),
        max([arm.schedule.epochs, *map(int, epochs)]),
    )


def entries(search: Search) -> Mapping[str, SpaceEntry]:
    """Return the space by its keys."""
    return cast(Mapping[str, SpaceEntry], search.space)  # a list has become an entry too


def arm_name(recipe: Recipe, search: Search) -> str:
    """Return the name of the arm that is changed; "" where the recipe does not say it."""
    return search.arm or (next(iter(recipe.arms)) if len(recipe.arms) == 1 else "")


def task_of(arm: Arm) -> Task | None:
    """Return the task of an arm's head; None where there is no such head."""
    return tasks.get(registry.get(Head, arm.head.kind).task) if registry.offers(Head, arm.head.kind) else None


def said(each: Parameter) -> str:
    """Return a parameter's values as text."""
    if each.kind == "values":
        return ", ".join(map(shown, each.values))
    scale = {"log": ", logarithmic", "int": ", whole numbers", "float": ""}[each.kind]
    return f"{each.low:g} to {each.high:g}{scale}"
