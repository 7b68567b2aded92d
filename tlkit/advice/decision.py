"""From trials to a proposal: the best way to train, what its whole run is expected to come to, and why the others lost.

Imports no torch. The rule: ways are compared on the same number of training images, by the same validation images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tlkit import units
from tlkit.advice import fitted
from tlkit.advice.arms import Way
from tlkit.advice.fitted import NOMINAL
from tlkit.advice.forecast import Point, Slope, forecast
from tlkit.advice.proposal import Proposal
from tlkit.advice.stopping import POINT
from tlkit.record.advice import Expected, Trial

_ERRORS = 1.645  # standard errors on each side of a 90 % interval


def decided(trials: Sequence[Trial]) -> tuple[Trial, Trial]:
    """Return the best trial of the rung that decides, and the cheapest within one point of it.

    That is the last rung on which the best way of the rung before was tried too: where there was no time for that, the ways that were
    tried have not beaten it.

    Args:
        trials: One at least.
    """
    last: list[Trial] = []
    for rung in sorted({trial.rung for trial in trials}):
        mine = [trial for trial in trials if trial.rung == rung]
        if last and _best(last).name not in _settled(mine):
            break
        last = mine
    best = _best(last)
    near = [trial for trial in last if trial.accuracy >= best.accuracy - POINT and (trial.ending is None or trial is best)]
    return best, min(near, key=lambda trial: trial.seconds)


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
        f"{best.name} was the best of {len({trial.name for trial in trials})} ways on {best.judged:,} validation images after training on "
        f"{best.images:,}: {best.accuracy:.1%}; the best of several looks better than it is.",
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
    if trial.rung > best.rung:
        return f"{best.name} was better before, and there was no time to try it on {units.images(trial.images)}"
    same = next((each for each in trials if each.name == best.name and each.rung == trial.rung), best)
    behind = 100 * (same.accuracy - trial.accuracy)
    if behind > 0:
        return f"{behind:.1f} points behind {best.name} after training on {units.images(trial.images)}"
    if trial.rung < best.rung:
        return f"not tried on more than {units.images(trial.images)}"
    return f"as good as {best.name} on {units.images(trial.images)}, and slower"
