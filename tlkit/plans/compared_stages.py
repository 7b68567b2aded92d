"""Which stages of the backbone a method of domain adaptation compares beside what the head reads. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tlkit.errors import TlkitError, nearest
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.plan import Choice
from tlkit.recipe.messages import shown


def numbers(found: Adaptation | None, stages: Sequence[str]) -> tuple[int, ...]:
    """Return the stages that a method compares, from 0 and ascending; () where it compares what the head reads alone.

    Args:
        found: The method, for which `problems` yields nothing.
        stages: Names of the backbone's stages up to the one that the head reads.
    """
    if found is None or found.adapter is None:
        return ()
    asked = found.adapter.stages
    chosen = (
        [stages.index(name) for name in _named(found)] if isinstance(asked, str) else [len(stages) + each for each in asked]
    )
    return tuple(sorted(chosen))


def problems(found: Adaptation, stages: Sequence[str], backbone: str) -> Iterator[TlkitError]:
    """Yield which of the stages that a method compares a network does not have.

    Args:
        found: The method.
        stages: Names of the backbone's stages up to the one that the head reads.
        backbone: Name of the backbone.
    """
    adapter = found.adapter
    if adapter is None or not adapter.stages:
        return
    if not isinstance(adapter.stages, str):
        if (least := -min(adapter.stages)) > len(stages):
            yield TlkitError(
                f"adapt.method: {found.table.method} compares the last {least} stages, and {backbone} has {len(stages)} up to the one that "
                "the head reads.",
                f"stages: {', '.join(stages)}",
            )
        return
    place, names = f"adapt.options.{adapter.stages}", _named(found)
    for name in dict.fromkeys(names):
        if name not in stages:
            yield TlkitError(
                f"{place}: {backbone} has no stage {shown(name)} up to the one that the head reads.",
                f"stages: {', '.join(stages)}",
                nearest(name, stages),
            )
        elif names.count(name) > 1:
            yield TlkitError(f"{place}: names {name} {names.count(name)} times.", "each stage once")


def choices(found: Adaptation | None, stages: Sequence[str]) -> Iterator[Choice]:
    """Yield which stages a method compares; of one that is asked for none, what it compares instead."""
    if names := [stages[number] for number in numbers(found, stages)]:
        yield Choice("compared", ", ".join(names), "the mean of each stage's output over the picture, of both domains")
    elif found is not None and found.adapter is not None and isinstance(found.adapter.stages, str) and found.adapter.stages:
        yield Choice("compared", "what the head reads", f"adapt.options.{found.adapter.stages} names no stage")


def of_no_use(found: Adaptation | None, trained: Collection[str], stages: Sequence[str]) -> list[str]:
    """Say which stages a method compares though nothing up to them trains, so that their features stay as they are.

    Args:
        found: The method.
        trained: The stages of the backbone that are trained at some time.
        stages: Names of the backbone's stages up to the one that the head reads.
    """
    if found is None or found.adapter is None or not found.adapter.moves_features or not trained:
        return []
    first = min(stages.index(name) for name in trained)
    fixed = [stages[number] for number in numbers(found, stages) if number < first]
    if not fixed:
        return []
    return [
        f"adapt.method: {found.table.method} compares {', '.join(fixed)} too, and nothing trains up to there: it changes nothing in "
        f"{'it' if len(fixed) == 1 else 'them'}"
    ]


def _named(found: Adaptation) -> list[str]:
    """The stages that a recipe lists in the option that the method says."""
    adapter = found.adapter
    if adapter is None or not isinstance(adapter.stages, str) or found.options is None:
        return []
    return [str(name) for name in getattr(found.options, adapter.stages)]
