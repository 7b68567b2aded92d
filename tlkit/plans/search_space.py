"""Check the search of a recipe before anything runs, and say what it will try. Imports neither torch nor Optuna.

The rule: every value of a list and both ends of every range are tried on the arm here, so a mistake is found before a trial is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tlkit import tasks
from tlkit.errors import TlkitError, nearest
from tlkit.plugin import Head, registry
from tlkit.recipe import messages, search_space
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm, Header, Recipe
from tlkit.recipe.search import Search, SpaceEntry
from tlkit.recipe.search_space import Parameter, Values
from tlkit.recipe.settings import path_of
from tlkit.tasks import Task

Resolver = Callable[[Arm], Sequence[TlkitError]]  # what is wrong with an arm whose tables are right

_MOST = 60  # combinations that are checked; a few milliseconds each
_HELD_OUT = ("data.name", "data.options", "data.split")  # tables that say which images are for validation
_BEST = "{arm}-best"  # the name under which results show the best trial


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
        return _BEST.format(arm=self.arm)


def planned(recipe: Recipe) -> SearchPlan | None:
    """Return what the search of a checked recipe will try; None for a recipe without one."""
    if recipe.search is None:
        return None
    search, name = recipe.search, _arm(recipe, recipe.search)
    arm, (parameters, _) = recipe.arms[name], search_space.ordered(_entries(search))
    task = _task(arm)
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
        parameters,
        search_space.written(arm, parameters),
        search_space.count(parameters, most=1_000_000),
        max([arm.schedule.epochs, *map(int, epochs)]),
    )


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
    name = _arm(recipe, search)
    if name in recipe.arms:
        arm = recipe.arms[name]
        found += [*_metric_problems(arm, search), *_sampler_problems(search)]
        if not found and resolver is not None:
            parameters, _ = search_space.ordered(_entries(search))
            found += _trial_problems(arm, parameters, resolver)
    return [TlkitError(f"{where}: {each.problem}", *each.hints) for each in found]


def _entries(search: Search) -> Mapping[str, SpaceEntry]:
    return cast(Mapping[str, SpaceEntry], search.space)  # a list has become an entry too


def _arm(recipe: Recipe, search: Search) -> str:
    """Return the name of the arm that is changed; "" where the recipe does not say it."""
    return search.arm or (next(iter(recipe.arms)) if len(recipe.arms) == 1 else "")


def _task(arm: Arm) -> Task | None:
    return tasks.get(registry.get(Head, arm.head.kind).task) if registry.offers(Head, arm.head.kind) else None


def _head_problems(recipe: Recipe, search: Search) -> Iterator[TlkitError]:
    name = _arm(recipe, search)
    if not name:
        yield TlkitError("search: the recipe has several arms.", f"name one: search.arm = {shown(next(iter(recipe.arms)))}")
    elif name not in recipe.arms:
        yield TlkitError(
            f"search.arm: there is no arm {shown(name)}.", f"arms: {', '.join(recipe.arms)}", nearest(name, recipe.arms)
        )
    elif (best := _BEST.format(arm=name)) in recipe.arms:
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
    entries = _entries(search)
    for key, entry in entries.items():
        for other, value in entry.when.items():
            at = f"search.space.{dotted(key)}.when.{dotted(other)}"
            if other not in entries:
                yield TlkitError(f"{at}: is not in the space.", f"keys: {', '.join(entries)}", nearest(other, entries))
            elif not (parent := search_space.parameter(other, entries[other])).has(value):
                yield TlkitError(
                    f"{at}: is {shown(value)}, which no trial has.", f"{other}: {said(parent)}", _near(value, parent)
                )
    _, waiting = search_space.ordered(entries)
    if waiting:
        yield TlkitError(f"search.space.{dotted(waiting[0])}.when: waits for itself, through {', '.join(waiting)}.")


def _near(value: Any, parent: Parameter) -> str:
    return nearest(value, [each for each in parent.values if isinstance(each, str)]) if isinstance(value, str) else ""


def _metric_problems(arm: Arm, search: Search) -> Iterator[TlkitError]:
    task, metric = _task(arm), search.metric
    if metric == "auto" or task is None or metric in task.selectable:
        return
    names = f"one of: auto, {', '.join(task.selectable)}"
    if metric.partition("_")[0].partition(".")[0].partition(" ")[0] == "test":
        yield TlkitError(f'search.metric: is "{metric}": a search that goes by test images has none left to test with.', names)
    else:
        what = f'search.metric: the {arm.head.kind} head has no metric "{metric}".'
        yield TlkitError(what, names, nearest(metric, task.selectable))


def _sampler_problems(search: Search) -> Iterator[TlkitError]:
    parameters = [search_space.parameter(key, entry) for key, entry in _entries(search).items()]
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


def _trial_problems(arm: Arm, parameters: Sequence[Parameter], resolver: Resolver) -> list[TlkitError]:
    """Return what the recipe refuses, of the combinations that are checked; each once, at the key that it is about."""
    cases = list(itertools.islice(_cases(parameters), _MOST))
    found: dict[tuple[str, str], list[Values]] = {}  # place and problem -> the cases that have it
    hints: dict[tuple[str, str], Sequence[str]] = {}
    for values in cases:
        for place, error in _refused(arm, parameters, values, resolver):
            found.setdefault((place, error.problem), []).append(values)
            hints[place, error.problem] = error.hints
    return [
        TlkitError(_message(parameters, cases, place, problem, having), *hints[place, problem])
        for (place, problem), having in found.items()
    ]


def _refused(arm: Arm, parameters: Sequence[Parameter], values: Values, resolver: Resolver) -> Iterator[tuple[str, TlkitError]]:
    """Yield what is wrong with one combination: the key of the recipe, and the problem."""
    tables = search_space.tables(arm, parameters, values)
    lines = messages.errors(Arm, tables)
    for line in lines:
        problem, *hints = messages.words(line, Arm)
        yield dotted(*line["loc"]), TlkitError(problem, *hints)
    if lines:  # the rest may have other mistakes
        wrong = {each.key for each in parameters for line in lines if _touches(dotted(*each.path), dotted(*line["loc"]))}
        tables = search_space.tables(arm, parameters, {key: value for key, value in values.items() if key not in wrong})
        if messages.errors(Arm, tables):
            return
    for error in resolver(Arm.model_validate(tables)):
        place, colon, problem = error.problem.partition(": ")
        yield (place, TlkitError(problem, *error.hints)) if colon else ("", error)


def _message(
    parameters: Sequence[Parameter], cases: Sequence[Values], place: str, problem: str, having: Sequence[Values]
) -> str:
    """Say at which key of the space a problem is, with the value or the values that have it."""
    exact = [each.key for each in parameters if dotted(*each.path) == place]
    about = [each.key for each in parameters if _touches(dotted(*each.path), place)]
    causes = [key for key in [*exact, *about, *(each.key for each in parameters)] if _decides(key, cases, having)]
    key, values = [*exact, *causes, *about, *having[0]][0], having[0]
    if causes[:1] == [key]:
        with_ = "" if exact and problem.startswith("is ") else f"with {shown(values[key])}: "
    elif causes:
        with_ = f"with {causes[0]} = {shown(values[causes[0]])}: "
    elif key in about and all(key in each and each[key] == values[key] for each in having) and len(having) < len(cases):
        with_ = f"with {shown(values[key])}: "
    elif len(having) < len(cases):
        with_ = f"with {', '.join(f'{name} = {shown(value)}' for name, value in values.items())}: "
    else:
        with_ = ""
    own = not place or key in exact or (key.startswith(f"{place}.") and key in causes)
    return f"search.space.{dotted(key)}: {with_}{'' if own else f'{place}: '}{problem}"


def _touches(key: str, place: str) -> bool:
    """Return whether one of two places of the recipe is in the other."""
    return key == place or key.startswith(f"{place}.") or place.startswith(f"{key}.")


def _decides(key: str, cases: Sequence[Values], having: Sequence[Values]) -> bool:
    """Return whether a problem is there in all cases with one value of a key, and not in all others."""
    if key not in having[0] or len(having) == len(cases):
        return False
    value = having[0][key]
    return [each for each in cases if key in each and each[key] == value] == list(having)


def _cases(parameters: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
    """Yield each value of each list once, each end of each range once, and then all other combinations of listed values."""
    seen: list[dict[str, Any]] = []
    firsts = [next(search_space.combinations(parameters))]
    for each in parameters:
        ends = each.values if each.kind == "values" else (each.low, each.high)
        for value in ends:
            forced = {**_parents(each, parameters), each.key: int(value) if each.kind == "int" else value}
            firsts.append(next(search_space.combinations(parameters, forced)))
    ranges = {each.key: int(each.low) for each in parameters if each.kind == "int"}
    for values in itertools.chain(firsts, search_space.combinations(parameters, ranges)):
        if values not in seen:
            seen.append(values)
            yield values


def _parents(each: Parameter, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of other keys with which a trial has this one."""
    found: dict[str, Any] = {}
    for key, value in each.when.items():
        found |= _parents(next(other for other in parameters if other.key == key), parameters) | {key: value}
    return found


def said(each: Parameter) -> str:
    """Return a parameter's values as text."""
    if each.kind == "values":
        return ", ".join(map(shown, each.values))
    scale = {"log": ", logarithmic", "int": ", whole numbers", "float": ""}[each.kind]
    return f"{each.low:g} to {each.high:g}{scale}"
