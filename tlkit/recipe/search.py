"""The table [search] at the head of a recipe: which values are tried, how many trials, and what decides."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlkit.recipe.messages import problem, shown
from tlkit.recipe.table import Table, chosen_by
from tlkit.recipe.tables import FolderName

_KINDS = ("log", "float", "int", "values")
_QUOTED = 'a key of the recipe stands in quotes: "lr_groups.head" = { log = [1e-4, 1e-1] }'
_FORMS = 'a list of values, or { log = [1e-4, 1e-1] }, { float = [0, 0.5] }, { int = [5, 20] }, { values = ["a", "b"], when = { ... } }'
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LARGEST_INT = 2**53  # the sampler draws whole numbers as floats, which are exact up to here

_Numbers = Annotated[tuple[float, float], Field(strict=False)]
_Whole = Annotated[tuple[int, int], Field(strict=False)]


class SpaceEntry(Table):
    """The values of one key that a search tries: a range of numbers, or a list."""

    log: _Numbers | None = Field(default=None, description="smallest and largest number, drawn evenly on a logarithmic scale")
    float: _Numbers | None = Field(default=None, description="smallest and largest number, drawn evenly")
    int: _Whole | None = Field(default=None, description="smallest and largest whole number")
    values: list[Any] | None = Field(default=None, min_length=1, description="these values; a list alone means the same")
    when: dict[str, Any] = Field(
        default_factory=dict,
        description='only in trials in which other keys of the space have these values: when = { "optimizer.name" = "sgd" }',
    )

    @model_validator(mode="after")
    def _one_kind(self) -> SpaceEntry:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise problem(f"has {' and '.join(given) or 'none of ' + ', '.join(_KINDS)}.", f"one of: {', '.join(_KINDS)}")
        kind = given[0]
        if kind == "values":
            _refuse_twice(self.values or [])
            return self
        low, high = getattr(self, kind)
        if low >= high:
            raise problem(f"{kind} is [{shown(low)}, {shown(high)}]; the smaller number comes first.")
        if kind == "int" and max(-low, high) > _LARGEST_INT:
            raise problem(f"int is [{shown(low)}, {shown(high)}]; numbers beyond {_LARGEST_INT} are not drawn exactly.")
        if kind == "log" and low <= 0:
            raise problem(f"log is [{shown(low)}, {shown(high)}]; a logarithmic scale has only numbers above 0.")
        return self


def same(one: object, other: object) -> bool:
    """Return whether two values of TOML are equal; true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def _refuse_twice(values: list[Any]) -> None:
    for place, value in enumerate(values):
        if any(same(value, other) for other in values[:place]):
            raise problem(f"has {shown(value)} twice.", "each value once")


def _entry(value: object) -> SpaceEntry:
    if isinstance(value, SpaceEntry):
        return value
    if isinstance(value, list):
        return SpaceEntry.model_validate({"values": value})
    if not isinstance(value, dict):
        raise problem(f"is {shown(value)}.", _FORMS)
    if value and not set(value) & {*_KINDS, "when"}:
        raise problem(f"is {shown(value)}, which has none of {', '.join(_KINDS)}.", _FORMS, _QUOTED)
    return SpaceEntry.model_validate(value)


def _duration(value: object) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", value) if isinstance(value, str) else None
    seconds = float(found[1]) * _SECONDS[found[2]] if found is not None else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= sys.float_info.max:
        raise problem(f"is {shown(value)}.", '"90s", "30m" or "2h", or a number of seconds')
    return float(seconds)


Entry = Annotated[SpaceEntry | list[Any], chosen_by(_entry)]
Duration = Annotated[float | str, chosen_by(_duration)]


class Search(Table):
    """A search for better settings: one arm is trained with other values of some keys, and the best is kept.

    Trial 0 is the recipe as written. The trials train with the first seed; the best of them is trained with all seeds.
    """

    arm: FolderName | None = Field(default=None, description="the arm whose keys are changed; needed where there are several")
    trials: int = Field(
        default=20, ge=1, le=100_000, description="number of trials in all, with trial 0; a larger number later adds trials"
    )
    timeout: Duration | None = Field(
        default=None,
        description='no trial begins after the trials have taken this long together: "90s", "30m", "2h", or a number of seconds',
    )
    at_once: int = Field(
        default=1, ge=1, le=10_000,
        description="trials that begin together and know nothing of each other: so many can run side by side on a cluster",
    )  # fmt: skip
    sampler: Literal["tpe", "random", "grid", "cmaes"] = Field(
        default="tpe",
        description="how values are chosen: by those that did well so far (tpe; cmaes for numbers alone), by chance, or all of them",
    )
    pruner: Literal["hyperband", "median", "none"] = Field(
        default="hyperband", description="which trials end early: those that are behind the others after as many epochs"
    )
    metric: str = Field(
        default="auto",
        min_length=1,
        description="metric on the validation images, in the best epoch, that a trial is judged by; auto: the arm's select_by",
        json_schema_extra={"examples": ["auto", "accuracy", "balanced_accuracy", "auroc", "f1", "loss"]},
    )
    space: dict[str, Entry] = Field(
        min_length=1,
        description='the keys that change, in quotes, with their values: "lr_groups.head" = { log = [1e-4, 1e-1] }',
    )
