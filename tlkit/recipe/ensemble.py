"""The table [ensemble] at the head of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tlkit.errors import TlkitError, first_few, nearest
from tlkit.recipe.messages import problem, shown
from tlkit.recipe.table import Table, chosen_by
from tlkit.recipe.tables import FolderName

SEEDS: Final = "seeds"
_Arms = Annotated[list[FolderName], Field(min_length=2)]
_ARMS: TypeAdapter[list[str]] = TypeAdapter(_Arms, config=Table.model_config)


def _members(value: object) -> str | list[str]:
    if value == SEEDS:
        return SEEDS
    try:
        arms = _ARMS.validate_python(value)
    except ValidationError:
        raise problem(f"is {shown(value)}.", '"seeds", or two arms or more: ["a", "b"]') from None
    if len(set(arms)) < len(arms):
        raise problem(f"is {shown(value)}, which has the same arm twice.")
    return arms


Members = Annotated[Literal["seeds"] | _Arms, chosen_by(_members)]


class Ensemble(Table):
    """Runs that predict together. It trains nothing: its rows stand below those of the arms."""

    members: Members = Field(
        description='"seeds": all seeds of each arm; or a list of arms: their runs of each seed, for instance ["a", "b"]'
    )
    average: Literal["probabilities", "weights"] = Field(
        default="probabilities",
        description='"probabilities": the mean of what the members predict; "weights": one network with the mean of the weights of those '
        "members that make it better on the validation images (a greedy soup)",
    )

    def problems(self, arms: Mapping[str, object], *, seeds: int, folds: int | None) -> Iterator[TlkitError]:
        """Yield what the rest of the recipe says against it.

        Args:
            arms: The arms of the recipe, by name.
            seeds: How many seeds it has.
            folds: Number of folds of its cross-validation; None without.
        """
        if isinstance(self.members, list):
            for name in self.members:
                if name not in arms:
                    yield TlkitError(
                        f"ensemble.members: there is no arm {shown(name)}.", f"arms: {first_few(arms, 20)}", nearest(name, arms)
                    )
            return
        if seeds < 2:
            yield TlkitError('ensemble.members: is "seeds", and there is one seed.', "seeds = [0, 1, 2]")
        if folds is not None:
            yield TlkitError(
                'ensemble.members: is "seeds", but with [cross_validation] each seed tests on images that the others train on.',
                'members = ["a", "b"] averages arms',
            )
