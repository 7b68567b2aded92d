"""Expand the keys `backbone` of [freeze] and [lr_groups] that say something else of every stage into a key for each stage.

The rule: the expanded arm is the one that a person could have written by hand, so both have one digest and are one run. A stage
that has a key of its own keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tlkit import units
from tlkit.recipe import maps
from tlkit.recipe.map_tables import AUTO, BACKBONE, Auto, Gradual, Rate, RateRange, Until
from tlkit.recipe.maps import Freeze, Rates
from tlkit.recipe.messages import dotted
from tlkit.recipe.recipe import Arm

# Stage -> the library's names of its modules, in order from input to output.
Stages = Mapping[str, Sequence[str]]
_LEAST = 1e-38  # a rate is a float32, whose smallest normal number is 1.2e-38; 0 is no rate


def expanded(arm: Arm, stages: Stages) -> tuple[Arm, tuple[str, ...]]:
    """Return an arm whose maps have a value for each stage, and a line for each part of them that has no effect.

    Args:
        arm: As written.
        stages: Those of its backbone, up to the one that the head reads.
    """
    freeze, rates = freeze_map(arm), rate_map(arm)
    notes = [*_about_ends(freeze, epochs=arm.schedule.epochs)]
    gradual, written = arm.freeze.get(BACKBONE), arm.lr_groups.get(BACKBONE)
    if isinstance(gradual, Gradual):
        own = [name for name in stages if name not in arm.freeze]
        turns = _turns(own, gradual.gradual, epochs=arm.schedule.epochs)
        freeze |= turns
        notes += _about_turns(gradual, turns, epochs=arm.schedule.epochs)
    if written is not None and BACKBONE not in rates:
        spread = {name: rate for name, rate in _spread(written, tuple(stages)) if name not in rates}
        used = _used(stages, freeze, {**rates, **spread})
        notes += _about_rates(spread, used)
        rates |= {name: rate for name, rate in spread.items() if name in used}
    return arm.model_copy(update={"freeze": freeze, "lr_groups": rates}), tuple(notes)


def freeze_map(arm: Arm) -> dict[str, bool | Until]:
    """Return [freeze] of an arm without what is not expanded yet; an expanded arm has no such key."""
    return {key: value for key, value in arm.freeze.items() if not isinstance(value, Gradual)}


def rate_map(arm: Arm) -> dict[str, float | Auto | Rate]:
    """Return [lr_groups] of an arm without what is not expanded yet; an expanded arm has no such key."""
    return {
        key: value
        for key, value in arm.lr_groups.items()
        if not isinstance(value, RateRange) and not (isinstance(value, Rate) and value.decay is not None)
    }


def _turns(stages: Sequence[str], every: int, *, epochs: int) -> dict[str, bool | Until]:
    """Return when each stage begins to train: the last after `every` epochs, the one before it after twice as many.

    Source: gradual unfreezing of Howard & Ruder 2018, arXiv:1801.06146, 3.3, where `every` is 1.
    """
    begins = {name: every * turn for turn, name in enumerate(reversed(stages), start=1)}
    return {name: Until(epochs=begins[name]) if begins[name] < epochs else True for name in stages}


def _spread(written: float | Auto | Rate | RateRange, stages: Sequence[str]) -> Iterator[tuple[str, float | Rate]]:
    """Yield the rate of each stage, as the plan prints it; nothing where they have one in common."""
    if isinstance(written, RateRange):
        gaps = len(stages) - 1
        between = [_rounded(written.from_ ** (1 - part / gaps) * written.to ** (part / gaps)) for part in range(1, gaps)]
        peaks = [*([written.from_] if gaps else []), *between, written.to]
    elif isinstance(written, Rate) and written.decay is not None and written.lr != AUTO:
        slower = [_rounded(max(written.lr * written.decay**before, _LEAST)) for before in range(len(stages) - 1, 0, -1)]
        peaks = [*slower, written.lr]
    else:
        return
    plain = written.weight_decay is None and written.momentum is None
    for name, peak in zip(stages, peaks, strict=True):
        yield name, peak if plain else Rate(lr=peak, weight_decay=written.weight_decay, momentum=written.momentum)


def _rounded(rate: float) -> float:
    """Return a rate to three digits, which the plan prints, so that a recipe with these rates written by hand is the same run."""
    return float(f"{rate:.3g}")


def _used(stages: Stages, freeze: Freeze, rates: Rates) -> set[str]:
    """Return the keys of [lr_groups] that something follows which trains in some epoch."""
    names = maps.names_only(stages, freeze, rates)
    owned = maps.divide(names, tuple(stages), freeze, rates, epochs=2**31).parameters
    return {each.group for each in owned if each.group is not None and each.trains_from is not None}


def _about_ends(freeze: Freeze, *, epochs: int) -> Iterator[str]:
    for key, value in freeze.items():
        if isinstance(value, Until) and value.epochs >= epochs:
            yield f"{dotted('freeze', key)}: frozen in the whole run of {units.counted(epochs, 'epoch')}; it never trains"


def _about_turns(gradual: Gradual, turns: Mapping[str, bool | Until], *, epochs: int) -> Iterator[str]:
    if not turns:
        yield f"freeze.{BACKBONE}: more specific keys cover all of it"
    if late := [name for name, value in turns.items() if value is True]:
        yield (
            f"freeze.{BACKBONE}: gradual = {gradual.gradual} does not reach {', '.join(late)} in {epochs} "
            f"epoch{'' if epochs == 1 else 's'}: frozen in all of them"
        )


def _about_rates(spread: Rates, used: set[str]) -> Iterator[str]:
    if not used & spread.keys():
        yield f"lr_groups.{BACKBONE}: " + ("all of it is frozen" if spread else "more specific keys cover all of it")
