"""Range tests of a prepared run: which groups of its optimizer move together, and the rates that a recipe leaves to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tlkit import files
from tlkit.engine import range_test
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.errors import RunFailed, TlkitError
from tlkit.network.stages import copied
from tlkit.plans import auto_rates
from tlkit.plans.plan import PhasePlan, Plan, trains_in
from tlkit.plans.resolved import Resolved
from tlkit.recipe import maps
from tlkit.record import range_tests
from tlkit.record.range_tests import RangeTest
from tlkit.run import failures
from tlkit.run.preparation import Prepared

# Steps of a range test: with fewer no curve is seen in seven decades of rates; with 2,000 each rate is 1.008 times the one before, and
# smoothing the losses takes 32 MB, which grow with the square.
FEWEST, MOST = 20, 2000


def measure(prepared: Prepared, groups: Sequence[str], runtime: Runtime, *, steps: int = auto_rates.STEPS) -> RangeTest:
    """Move some groups of a run over the range of rates, and return what the loss did. What the run begins from stays as it is.

    Args:
        prepared: The run.
        groups: Move, and keep the ratios of their rates; those whose rates are not known yet have the same. The others keep still.
        runtime: Where the run is carried out; of several processes this one tests alone.
        steps: Optimizer steps.

    Raises:
        RunFailed: the device has not the memory for a step.
    """
    plan, runtime = prepared.plan, replace(runtime, ranks=ALONE)
    phase, ratios = phase_of(plan, groups), _ratios(plan, groups)
    rates = [auto_rates.LEAST * (auto_rates.MOST / auto_rates.LEAST) ** (step / (steps - 1)) for step in range(steps)]
    try:
        network = prepared.start.get().to(runtime.device)
        if prepared.head_start is not None:
            network = copied("of all", network)
            prepared.head_start.solve_(network, runtime)
        taken = range_test.take(
            plan, network, prepared.job.resolved.backbone, prepared.train, runtime, phase=phase,
            rates=[{name: rate * ratio for name, ratio in ratios.items()} for rate in rates],
        )  # fmt: skip
    except (OSError, RuntimeError, MemoryError) as error:
        raise failures.in_words(error, prepared, runtime.device) from error
    return RangeTest.of(
        rates[: len(taken.losses)], taken.losses, arm=plan.arm, seed=prepared.job.seed, ratios=ratios,
        still=[group.name for group in plan.groups if group.name not in groups], ended=taken.ended, passes=taken.passes,
        frozen=len(phase.prefix), stored=phase.fixed is not None and phase.fixed.train is not None,
    )  # fmt: skip


def together(plan: Plan) -> tuple[str, ...]:
    """Return the groups that a range test moves together: those whose rates the recipe leaves to it, else all that it trains."""
    return auto_rates.unknown(plan) or _trained(plan)


def _trained(plan: Plan) -> tuple[str, ...]:
    """Return the groups that a range test trains: it takes steps of the source alone, and a domain head has no part in these."""
    return tuple(group.name for group in plan.groups if group.name != maps.DOMAIN)


def phase_of(plan: Plan, groups: Iterable[str]) -> PhasePlan:
    """Return the first phase in which something of all of these groups trains."""
    begins = [
        min(each.trains_from for each in plan.parameters if each.group == group and each.trains_from is not None)
        for group in groups
    ]
    return next(phase for phase in plan.phases if trains_in(max(begins), phase.first))


def settled(prepared: Prepared, runtime: Runtime) -> tuple[Prepared, RangeTest | None]:
    """Return a run with the rates that its recipe leaves to a range test, and the test; None where it leaves none to it.

    Raises:
        RunFailed: no rate lowers the loss.
    """
    groups = auto_rates.unknown(prepared.plan)
    if not groups:
        return prepared, None
    test = measure(prepared, groups, runtime)
    rates = test.suggested
    if rates is None:
        raise RunFailed(
            f"{prepared.job.label}: {auto_rates.named(groups[0])}: no rate from {auto_rates.LEAST:g} to {auto_rates.MOST:g} "
            "lowers the loss in the range test.",
            f"tlkit rates shows its curve; a rate of your own: {auto_rates.named(groups[0])} = 1e-3",
        )
    why = f"from a range test of {len(test.rates)} steps: the middle of the longest fall of the loss"
    runtime.observer.note(
        f"{prepared.job.label}: "
        + ", ".join(f"{auto_rates.named(name)} = {rate:g}" for name, rate in rates.items())
        + f", {why}"
    )
    return with_rates(prepared, rates, why=why), test


def with_rates(prepared: Prepared, rates: Mapping[str, float], *, why: str) -> Prepared:
    """Return a run with rates of groups that have none yet, and why they are these."""
    return replace(
        prepared,
        plan=auto_rates.filled(prepared.plan, rates, reason=why),
        bare=auto_rates.filled(prepared.bare, rates, reason=why),
    )


def tests(prepared: Prepared, runtime: Runtime, *, each: bool, steps: int) -> list[RangeTest]:
    """Return the test of a run's groups together and, with `each`, of every one alone; the other arguments are those of `measure`."""
    plan = prepared.plan
    moved = [together(plan)]
    if each:
        moved += [(name,) for name in _trained(plan) if (name,) not in moved]
    return [measure(prepared, groups, runtime, steps=steps) for groups in moved]


def with_rates_to_test(
    arms: Mapping[str, Resolved], arm: str | None, *, where: str, note: Callable[[str], None]
) -> dict[str, Resolved]:
    """Return the arms that are trained by steps.

    Args:
        arms: Of a recipe.
        arm: Only this one; None for all.
        where: Begins every message.
        note: Told of arms that have no rate.

    Raises:
        TlkitError: there is none.
    """
    without = {name: _why_no_rate(each) for name, each in arms.items() if each.learns != "steps" and arm in (None, name)}
    found = {name: each for name, each in arms.items() if each.learns == "steps" and arm in (None, name)}
    if not found:
        name, why = next(iter(without.items()))
        others = [other for other, each in arms.items() if each.learns == "steps"]
        raise TlkitError(
            f"{where}: arm {name} has no learning rate: {why}.",
            f"arms with rates: {', '.join(others)}" if others else 'a head that is trained by steps: head.kind = "linear"',
        )
    for name, why in without.items():
        note(f"{name} has no learning rate: {why}")
    return found


def _why_no_rate(resolved: Resolved) -> str:
    return (
        f"its {resolved.arm.head.kind} head is solved, not trained" if resolved.learns == "solved" else "nothing of it trains"
    )


def keep(folder: Path, tests: Iterable[RangeTest]) -> None:
    """Keep tests in a recipe's folder, and draw all that it keeps.

    Raises:
        RunFailed: the folder cannot be written.
    """
    from tlkit.reports import rate_curves  # matplotlib, which nothing else of a run needs before its end

    with files.writing_in(folder):
        rate_curves.write(folder / range_tests.PICTURE, range_tests.keep(folder, tests))


def _ratios(plan: Plan, groups: Iterable[str]) -> dict[str, float]:
    """Return each group's rate as a multiple of the largest."""
    peaks = {group.name: group.lr for group in plan.groups if group.name in groups}
    largest = max((peak for peak in peaks.values() if peak is not None), default=math.nan)
    return {name: 1.0 if peak is None else peak / largest for name, peak in peaks.items()}
