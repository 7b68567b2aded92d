"""Check the search of a recipe before anything runs: its arm, keys, conditions, metric and sampler. Imports neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlkit.errors import TlkitError, first_few, nearest
from tlkit.plans import search_combinations
from tlkit.plans.search_combinations import Resolver
from tlkit.plans.search_plan import BEST, arm_name, entries, said, task_of
from tlkit.recipe import search_space
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm, Header, Recipe
from tlkit.recipe.search import Search
from tlkit.recipe.search_space import Parameter
from tlkit.recipe.settings import path_of

_HELD_OUT = ("data.name", "data.options", "data.split")  # tables that say which images are for validation


def problems(recipe: Recipe, *, where: str, resolver: Resolver | None) -> list[TlkitError]:
    """Return what is wrong with the search of a recipe.

    Args:
        recipe: As read.
        where: Begins every message, usually the recipe's file.
        resolver: Says what is wrong with an arm; None where the recipe's own arms are wrong, so that trials are not checked.
    """
    if recipe.search is None:
        return []
    search = recipe.search
    found = [*_head_problems(recipe, search), *_key_problems(search), *_when_problems(search)]
    name = arm_name(recipe, search)
    if name in recipe.arms:
        arm = recipe.arms[name]
        found += [*_metric_problems(arm, search), *_sampler_problems(search)]
        if not found and resolver is not None:
            parameters, _ = search_space.ordered(entries(search))
            found += search_combinations.problems(arm, parameters, resolver)
    return [each.at(where) for each in found]


def _head_problems(recipe: Recipe, search: Search) -> Iterator[TlkitError]:
    name = arm_name(recipe, search)
    if not name:
        yield TlkitError("search: the recipe has several arms.", f"name one: search.arm = {shown(next(iter(recipe.arms)))}")
    elif name not in recipe.arms:
        yield TlkitError(
            f"search.arm: there is no arm {shown(name)}.", f"arms: {first_few(recipe.arms, 20)}", nearest(name, recipe.arms)
        )
    elif (best := BEST.format(arm=name)) in recipe.arms:
        yield TlkitError(f"arms.{best}: is the name under which the best trial of the search is shown.", "another name for it")
    elif recipe.arms[name].data.split.validation == 0:
        yield TlkitError(
            "search: needs validation images, but data.split.validation is 0.",
            "data.split.validation = 0.1; test images choose nothing",
        )
    if recipe.folds is not None:
        yield TlkitError(
            "search: a recipe with [cross_validation] has none: each fold's test images are other folds' validation images.",
            "search first, write the best values into the recipe, and cross-validate on images that the search has not seen",
        )


def _key_problems(search: Search) -> Iterator[TlkitError]:
    """Yield keys that are none, or that a trial may not change."""
    for key in search.space:
        path, at = path_of(key), f"search.space.{dotted(key)}"
        if not path:
            yield TlkitError(f"{at}: is not a key.", "quote a module path in it: 'freeze.\"layer4.0\"'")
        elif path[0] in (*Header.model_fields, "arms"):
            yield TlkitError(f"{at}: {path[0]} stands at the head of a recipe, and is the same in all trials.")
        elif any(path[: each.count(".") + 1] == tuple(each.split(".")) or path == ("data",) for each in _HELD_OUT):
            yield TlkitError(
                f"{at}: changes which images are for validation, so trials could not be compared.", "an arm for each instead"
            )
        elif path == ("select_by",):
            yield TlkitError(f"{at}: trials that go by other metrics could not be compared.", "search.metric judges all trials")
    paths = {path_of(key): key for key in search.space}
    for path, key in paths.items():
        inner = next((paths[path[:n]] for n in range(1, len(path)) if path[:n] in paths), None)
        if inner is not None:
            yield TlkitError(f"search.space.{dotted(key)}: is a part of {inner}, which is in the space too.", "one of the two")


def _when_problems(search: Search) -> Iterator[TlkitError]:
    space = entries(search)
    for key, entry in space.items():
        for other, value in entry.when.items():
            at = f"search.space.{dotted(key)}.when.{dotted(other)}"
            if other not in space:
                others = [name for name in space if name != key]
                add = f"[search.space] with {dotted(other)} = [{shown(value)}, ..]"
                yield TlkitError(
                    f"{at}: is not in the space.",
                    *([f"keys: {', '.join(others)}"] if others else []),
                    nearest(other, others) or add,
                )
            elif not (parent := search_space.parameter(other, space[other])).has(value):
                yield TlkitError(
                    f"{at}: is {shown(value)}, which no trial has.", f"{other}: {said(parent)}", _near(value, parent)
                )
    _, waiting = search_space.ordered(space)
    if waiting:
        yield TlkitError(f"search.space.{dotted(waiting[0])}.when: waits for itself, through {', '.join(waiting)}.")


def _near(value: Any, parent: Parameter) -> str:
    return nearest(value, [each for each in parent.values if isinstance(each, str)]) if isinstance(value, str) else ""


def _metric_problems(arm: Arm, search: Search) -> Iterator[TlkitError]:
    task, metric = task_of(arm), search.metric
    if metric == "auto" or task is None or metric in task.selectable:
        return
    names = f"one of: auto, {', '.join(task.selectable)}"
    if metric.partition("_")[0].partition(".")[0].partition(" ")[0] == "test":
        yield TlkitError(f'search.metric: is "{metric}": a search that goes by test images has none left to test with.', names)
    else:
        what = f'search.metric: the {arm.head.kind} head has no metric "{metric}".'
        yield TlkitError(what, names, nearest(metric, task.selectable))


def _sampler_problems(search: Search) -> Iterator[TlkitError]:
    parameters = [search_space.parameter(key, entry) for key, entry in entries(search).items()]
    if search.sampler == "grid":
        for each in parameters:
            if each.listed is None:
                yield TlkitError(
                    f"search.space.{dotted(each.key)}: {each.kind} has endlessly many values, and a grid tries all.",
                    f"a list of values, such as [{each.low:g}, {each.high:g}], or another search.sampler",
                )
    if search.sampler == "cmaes" and sum(each.kind != "values" and not each.when for each in parameters) < 2:
        yield TlkitError(
            "search.sampler: cmaes needs two ranges of numbers without `when`; the space has fewer.", 'sampler = "tpe"'
        )
