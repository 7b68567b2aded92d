"""From trials to a proposal: the best way to train, what its whole run is expected to come to, and why the others lost.

Imports no torch. The rule: ways are compared on the same number of training images, by the same validation images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tlkit import units
from tlkit.advice import fitted
from tlkit.advice.arms import DEEP, Way
from tlkit.advice.fitted import NOMINAL
from tlkit.advice.forecast import Point, Slope, forecast
from tlkit.advice.proposal import Proposal
from tlkit.advice.stopping import POINT
from tlkit.record.advice import Expected, Trial

_ERRORS = 1.645  # standard errors on each side of a 90 % interval


def decided(trials: Sequence[Trial]) -> tuple[Trial, Trial]:
    """Return the trial of the way that is taken, and the cheapest within one point of it.

    That is the best of the last rung on which the best way of the rung before was tried too: where there was no time for that, the ways
    that were tried have not beaten it. Where everything from a solved head on (`arms.DEEP`) lies within one standard error of the best
    on the same images, it is taken: it gains more from more images than a solved head does (docs/advice.md has the measurement).

    Args:
        trials: One at least.
    """
    best = _highest(trials)
    taken = _deep(best, trials) or best
    last = [trial for trial in trials if trial.rung == taken.rung]
    near = [trial for trial in last if trial.accuracy >= taken.accuracy - POINT and (trial.ending is None or trial is taken)]
    return taken, min(near, key=lambda trial: trial.seconds)


def _highest(trials: Sequence[Trial]) -> Trial:
    """Return the best trial of the last rung that decides."""
    last: list[Trial] = []
    for rung in sorted({trial.rung for trial in trials}):
        mine = [trial for trial in trials if trial.rung == rung]
        if last and _best(last).name not in _settled(mine):
            break
        last = mine
    return _best(last)


def _deep(best: Trial, trials: Sequence[Trial]) -> Trial | None:
    """Return the trial of the same network from a solved head on, where it is not told apart from the best on as many images as both had."""
    name = best.name[: best.name.rfind("-") + 1] + DEEP
    if best.name.startswith(name) or not any(
        trial.solved for trial in trials
    ):  # or it with other rates; no head could be solved
        return None
    both = {trial.rung: trial for trial in trials if trial.name == name and trial.ending is None}
    same = {trial.rung: trial for trial in trials if trial.name == best.name and trial.rung in both and trial.rung <= best.rung}
    if not same:
        return None
    rung = max(same)
    return both[rung] if both[rung].accuracy >= same[rung].accuracy - same[rung].error else None


def with_reasons(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials, those of every way but the best with why it lost."""
    best, _ = decided(trials)
    latest = {trial.name: trial for trial in sorted(trials, key=lambda trial: (trial.rung <= best.rung, trial.rung))}
    return [
        trial if trial.name == best.name else replace(trial, why_lost=_lost(latest[trial.name], best, trials))
        for trial in trials
    ]


def propose(
    trials: Sequence[Trial], ways: Sequence[Way], proposed: Proposal, *, train: int, epochs: int, usual: Slope | None = None
) -> tuple[Proposal, tuple[Expected, ...]]:
    """Return the best way of trials as a proposal, and what whole runs of it and of the cheapest near it are expected to come to.

    Where what the probe proposes is not among the trials, that stays.

    Args:
        trials: One at least.
        ways: That were tried.
        proposed: What would be proposed without trials; its reasons are kept but the last, which they replace.
        train: Training images of a whole run.
        epochs: Of a whole run that is trained by steps.
        usual: What the probe tells of how the error falls with more images; None where it tells nothing.
    """
    names = {trial.name for trial in trials}
    if proposed.way and proposed.way not in names:
        untried = f"It has no finished trial: only {', '.join(sorted(names))} have, which does not overrule the probe."
        return replace(proposed, why=(*proposed.why, untried)), ()
    best, cheapest = decided(trials)
    way = next(each for each in ways if each.name == best.name)
    expected = tuple(_expected(trial, trials, train, epochs, usual) for trial in dict.fromkeys((best, cheapest)))
    low, high = (100 * each for each in expected[0].interval)
    why = [
        _why(best, trials),
        f"A whole run of it is expected to have {expected[0].accuracy:.1%} ({NOMINAL:.0%} interval {low:.1f} to {high:.1f}: {expected[0].basis}).",
    ]
    if cheapest != best:
        why.append(
            f"{cheapest.name} is within one point of it ({cheapest.accuracy:.1%}) and takes {_ratio(expected)} of its time."
        )
    reasons = {trial.name: trial.why_lost for trial in with_reasons(trials) if trial.why_lost}
    why += [f"{name} lost: {reason}." for name, reason in reasons.items()]
    made = way.at(split=None, epochs=epochs)
    return Proposal(made, way.what, (way.fits, *why), way.name, way.network), expected


def _why(taken: Trial, trials: Sequence[Trial]) -> str:
    count, after = (
        len({trial.name for trial in trials}),
        f"on {taken.judged:,} validation images after training on {taken.images:,}",
    )
    best = _highest(trials)
    if count == 1:
        return f"{best.name} was the only way that was tried {after}: {best.accuracy:.1%}; no other was compared with it."
    if best.name == taken.name:
        return f"{best.name} was the best of {count} ways {after}: {best.accuracy:.1%}; the best of several looks better than it is."
    same = next(trial for trial in trials if trial.name == best.name and trial.rung == taken.rung)
    return (
        f"Of {count} ways {best.name} had {same.accuracy:.1%} and {taken.name} {taken.accuracy:.1%} {after}, which is within one standard "
        f"error ({100 * same.error:.1f}). {taken.name} is taken: it gains more from more images, and was the best on average of 13 image sets."
    )


def _settled(trials: Sequence[Trial]) -> set[str]:
    """Return the names of a rung's trials without those that were stopped while they might still have become the best."""
    best = _best(trials)
    return {trial.name for trial in trials if trial is best or trial.ending is None or trial.ending.interval[1] < best.accuracy}


def _best(trials: Sequence[Trial]) -> Trial:
    return max(trials, key=lambda trial: (trial.accuracy, -trial.seconds))


def _expected(trial: Trial, trials: Sequence[Trial], train: int, epochs: int, usual: Slope | None) -> Expected:
    mine = sorted((each for each in trials if each.name == trial.name and each.rung <= trial.rung), key=lambda each: each.rung)
    points = list({each.images: _point(each) for each in mine}.values())
    accuracy, interval = forecast(points, train, usual)
    basis = f"the chance of {trial.judged:,} validation images"
    if trial.ending is not None:
        basis += f", continued from {trial.epochs} to {trial.ending.epochs} epochs"
    if trial.images < train:
        basis += f", continued from {units.images(trial.images)} to {train:,} by a power law"
    known = fitted.load()
    if known.half_width is None:
        basis += f"; a conformal one needs {fitted.FEWEST} measured image sets, and there are {len(known.errors)}"
    else:
        interval = max(accuracy - known.half_width, 0.0), min(accuracy + known.half_width, 1.0)
        basis = f"as far as advice was wrong on {len(known.errors)} other image sets"
    return Expected(trial.name, accuracy, interval, _seconds(mine, train, epochs), basis)


def _seconds(trials: Sequence[Trial], train: int, epochs: int) -> float:
    """Return the seconds of a whole run: of trials of one way, what is done once counts once; of one trial all of it grows with the images."""
    work = [each.images * (1 if each.solved else each.epochs) for each in trials]
    whole, last = train * (1 if trials[-1].solved else epochs), trials[-1].seconds
    if work[-1] > work[0] and last > trials[0].seconds:
        return last + (last - trials[0].seconds) / (work[-1] - work[0]) * max(whole - work[-1], 0)
    return last * whole / max(work[-1], 1)


def _point(trial: Trial) -> Point:
    """Return what a trial ends with, whose error has that of a forecast in it."""
    if trial.ending is None:
        return Point(trial.images, trial.accuracy, trial.error)
    low, high = trial.ending.interval
    return Point(trial.images, trial.ending.accuracy, math.hypot(trial.error, (high - low) / (2 * _ERRORS)))


def _ratio(expected: Sequence[Expected]) -> str:
    return f"{expected[-1].seconds / max(expected[0].seconds, 1e-9):.0%}"


def _lost(trial: Trial, best: Trial, trials: Sequence[Trial]) -> str:
    if trial.ending is not None:
        words = trial.ending.words()
        return f"stopped after {trial.epochs} of {trial.ending.epochs} epochs on {units.images(trial.images)}, {words}"
    first = _highest(trials)
    if trial.name == first.name:
        return f"{best.name} was within one standard error of it on {units.images(best.images)}"
    if trial.rung > best.rung:
        return f"{best.name} was better before, and there was no time to try it on {units.images(trial.images)}"
    same = next((each for each in trials if each.name == best.name and each.rung == trial.rung), best)
    behind = 100 * (same.accuracy - trial.accuracy)
    if behind < 0 and trial.rung == best.rung:
        return f"{-behind:.1f} points ahead of {best.name} on {units.images(trial.images)}, but not the best"
    if behind > 0:
        return f"{behind:.1f} points behind {best.name} after training on {units.images(trial.images)}"
    if trial.rung < best.rung:
        return f"not tried on more than {units.images(trial.images)}"
    return f"as good as {best.name} on {units.images(trial.images)}, and slower"
