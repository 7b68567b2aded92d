"""Try what a search may try on its arm before anything runs. Imports neither torch nor Optuna.

The rule: every value of a list and both ends of every range are tried, so a mistake is found before a trial is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tlkit.errors import TlkitError
from tlkit.recipe import messages, search_space
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm
from tlkit.recipe.search_space import Parameter, Values

Resolver = Callable[[Arm], Sequence[TlkitError]]  # what is wrong with an arm whose tables are right

_MOST = 60  # combinations that are checked; a few milliseconds each


def problems(arm: Arm, parameters: Sequence[Parameter], resolver: Resolver) -> list[TlkitError]:
    """Return what the recipe refuses, of the combinations that are checked; each once, at the key that it is about.

    Args:
        arm: That the search changes.
        parameters: Of the search.
        resolver: Says what is wrong with an arm.
    """
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
