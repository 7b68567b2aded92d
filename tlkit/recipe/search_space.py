"""The parameters of a search: their values, which of them a trial has, and the arm that a trial's values give.

The rule: a trial changes an arm as `--set` would, so whoever writes its values into the recipe has the trial's run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tlkit.recipe.merging import names_first, set_
from tlkit.recipe.recipe import Arm, arm_toml
from tlkit.recipe.search import SpaceEntry, same
from tlkit.recipe.settings import Setting, path_of

Kind = Literal["log", "float", "int", "values"]
Values = Mapping[str, Any]  # of the keys that a trial changes


@dataclass(frozen=True)
class Parameter:
    """A key of the space.

    Attributes:
        key: As the recipe writes it.
        path: Its parts.
        kind: A range on a logarithmic scale, a range, a range of whole numbers, or a list of values.
        low: Smallest number of a range.
        high: Largest number of a range.
        values: Of a list.
        when: Values of other keys, with which alone a trial has this one.
    """

    key: str
    path: tuple[str, ...]
    kind: Kind
    low: float = 0
    high: float = 0
    values: tuple[Any, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)

    @property
    def listed(self) -> Sequence[Any] | None:
        """All values, in order; None of a range with endlessly many."""
        if self.kind == "int":
            return range(int(self.low), int(self.high) + 1)
        return self.values if self.kind == "values" else None

    def has(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        if self.kind == "values":
            return any(same(value, each) for each in self.values)
        number = isinstance(value, int if self.kind == "int" else int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def active(self, values: Values) -> bool:
        """Return whether a trial with these values of other keys has this key."""
        return all(key in values and same(values[key], value) for key, value in self.when.items())


def parameter(key: str, entry: SpaceEntry) -> Parameter:
    """Return a key of the space as a parameter."""
    if entry.values is not None:
        return Parameter(key, path_of(key), "values", values=tuple(entry.values), when=entry.when)
    kinds: tuple[Kind, ...] = ("log", "float", "int")
    kind, (low, high) = next((kind, pair) for kind in kinds if (pair := getattr(entry, kind)) is not None)
    return Parameter(key, path_of(key), kind, low, high, when=entry.when)


def ordered(space: Mapping[str, SpaceEntry]) -> tuple[tuple[Parameter, ...], list[str]]:
    """Return the parameters, each after those that its `when` names, and the keys of which each waits for another."""
    waiting = {key: parameter(key, entry) for key, entry in space.items()}
    found: dict[str, Parameter] = {}
    while ready := [key for key, each in waiting.items() if set(each.when) & space.keys() <= found.keys()]:
        found |= {key: waiting.pop(key) for key in ready}
    return tuple(found.values()), list(waiting)


def tables(arm: Arm, parameters: Sequence[Parameter], values: Values) -> dict[str, Any]:
    """Return an arm's tables with a trial's values."""
    paths = {each.key: each.path for each in parameters}
    changed = arm_toml(arm)
    for setting in names_first(Setting(paths[key], value) for key, value in values.items()):
        set_(changed, setting.path, setting.value)
    return changed


def arm_of(arm: Arm, parameters: Sequence[Parameter], values: Values) -> Arm:
    """Return an arm with a trial's values.

    Raises:
        ValidationError: the recipe refuses a value.
    """
    return Arm.model_validate(tables(arm, parameters, values))


def written(arm: Arm, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values that an arm has as it is written, of those keys in whose values they lie."""
    own = arm.model_dump(mode="json")
    found: dict[str, Any] = {}
    for each in parameters:
        if not each.active(found):
            continue
        value = _at(own, each.path)
        for candidate in each.values if each.kind == "values" else [value] if each.has(value) else []:
            try:
                changed = arm_of(arm, parameters, {**found, each.key: candidate})
            except ValueError:
                continue
            if changed.model_dump(mode="json") == own:
                found[each.key] = candidate
                break
    return found


def outside(arm: Arm, parameters: Sequence[Parameter], values: Values) -> dict[str, Any]:
    """Return what an arm has, as it is written, of the keys whose values do not hold it: "auto", or a rate beyond the ends.

    Args:
        arm: The arm.
        parameters: In order.
        values: From `written`.
    """
    own, found = arm.model_dump(mode="json"), dict(values)
    for each in parameters:
        if each.key not in found and each.active(found) and (value := _at(own, each.path)) is not None:
            found[each.key] = value
    return {key: value for key, value in found.items() if key not in values}


def combinations(parameters: Sequence[Parameter], ends: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Yield every combination of listed values, the last key's changing first; of endless ranges one value.

    Args:
        parameters: In order.
        ends: The value of some keys, instead of all of theirs.
    """
    yield from _combine(parameters, {}, ends or {})


def _combine(rest: Sequence[Parameter], values: dict[str, Any], ends: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if not rest:
        yield dict(values)
        return
    first, *others = rest
    if not first.active(values):
        yield from _combine(others, values, ends)
        return
    if first.key in ends:
        choices: Sequence[Any] = (ends[first.key],)
    else:
        choices = first.listed or (first.low,)
    for value in choices:
        yield from _combine(others, {**values, first.key: value}, ends)


def count(parameters: Sequence[Parameter], *, most: int) -> int | None:
    """Return how many combinations of values there are, `most` where there are more; None where a range has endlessly many."""
    if any(each.listed is None for each in parameters):
        return None
    return sum(1 for _, _ in zip(range(most), combinations(parameters), strict=False))


def label(value: Any) -> str | int | float:
    """Return a value as a search keeps it: a table, a list, true or false as text."""
    scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if scalar else json.dumps(value, default=str)


def _at(tables: Mapping[str, Any], path: Sequence[str]) -> Any:
    here: Any = tables
    for part in path:
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
