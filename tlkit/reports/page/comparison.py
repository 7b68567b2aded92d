"""The result in one sentence, and the paired differences between arms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit import tasks
from tlkit.record import arm_differences, run_folder, selection
from tlkit.record.predictions import Answers
from tlkit.reports.differences import p_value, points, short
from tlkit.reports.page.arm_scores import arm_named, interval_of, judged_by, leads, mean_of, metric, on_target
from tlkit.reports.page.runs import ShownArm

_ALL_PAIRS = 4  # arms; of more, each is compared with the best by validation alone


@dataclass(frozen=True)
class Difference:
    """Two arms on the same images.

    Attributes:
        first: Name of an arm.
        second: Name of the other.
        difference: Accuracy of the second minus that of the first, in points.
        tests: McNemar's test of each seed, in words.
        over_seeds: The paired t interval, in words; "" where there is none.
        why_none: Why there is none; "" where there is one.
        short: The difference with its interval and p-value, for the cell of a table.
    """

    first: str
    second: str
    difference: str
    tests: tuple[str, ...]
    over_seeds: str
    why_none: str
    short: str


def sentence(arms: Sequence[ShownArm], baseline: str = "") -> str:
    """Return the result in one sentence. Of arms with [adapt] it tells source and target apart; their difference is on the target."""
    best = arms[0]
    by, target = metric(arms), best.first.target
    mean, interval, kind = interval_of(best)
    accuracy, range_ = on_target(best, target) if target else ("", "")
    if target and not np.isfinite(mean):  # every image of the source is trained on
        text = f"{best.name} has {accuracy or 'an unknown'} accuracy on the test images of {target}, the target"
        text += f" (95 % interval {range_} over {len(best.runs)} seeds)" if range_ else ""
    else:
        usual, leading = judged_by(arms) == selection.USUAL, [_leading(best, name) for name in leads(arms)]
        text = " and ".join([*leading, *([f"{mean:.1%} accuracy"] if usual else [])])
        text = f"{best.name} has {text} on the {best.first.split} images"
        text += " of the source" if target else ""
        text += "" if interval is None or not usual else f" (95 % interval {interval.low:.1%} to {interval.high:.1%}; {kind})"
        text += f", and {accuracy} on those of {target}, the target" if accuracy else ""
    if len(arms) == 1:
        return f"{text}."
    chosen, joined = "It is the best by validation", ","
    if not np.isfinite(best.worth):
        chosen, joined = "Without validation images no arm is chosen", f". {best.name} is"
    rest = [difference for difference in differences(arms, baseline) if best.name in (difference.first, difference.second)]
    if not rest:
        return f"{text}. {chosen}."
    other = rest[0].first if rest[0].second == best.name else rest[0].second
    against = _difference(arm_named(arms, other), best)  # this way round, so that the proof has the sign of the difference
    assert against is not None  # as the other way round
    proof = against.over_seeds or (against.tests[0] if against.tests else "")
    unit = "points" if by == selection.USUAL else "points of accuracy"
    same = f"the same images{f' of {target}' if target else ''}"
    return f"{text}. {chosen}{joined} {against.difference} {unit} from {other} on {same} ({proof})."


def differences(arms: Sequence[ShownArm], baseline: str = "") -> list[Difference]:
    """Compare arms on the same images, which are the target's with [adapt].

    All are compared with the baseline; without one all pairs, or of many arms each with the best by validation.
    """
    if baseline:
        chosen = arm_named(arms, baseline)
        pairs = [(arm, chosen) for arm in arms if arm is not chosen]
    elif len(arms) <= _ALL_PAIRS:
        pairs = list(itertools.combinations(arms, 2))
    else:
        pairs = [(arms[0], other) for other in arms[1:]]
    return [found for better, other in pairs if (found := _difference(other, better)) is not None]


def _difference(first: ShownArm, second: ShownArm) -> Difference | None:
    """Compare two arms run by run, where both have the same seed, fold and images."""
    found = arm_differences.difference(_answers(second), _answers(first))
    if found is None:
        return None
    tests = [
        f"{run_folder.label('', seed, fold).removeprefix(', ')}: {test.only_second} images only {second.name} has right, "
        f"{test.only_first} only {first.name}; exact McNemar {p_value(test.p)}"
        for (seed, fold), test in found.runs.items()
    ]
    over = found.over_seeds
    words = "" if over is None else (
        f"{points(over.mean)} points, 95 % interval {points(over.interval.low)} to {points(over.interval.high)}, "
        f"paired t over {over.n} seeds, {p_value(over.p)}"
    )  # fmt: skip
    return Difference(
        first.name,
        second.name,
        points(found.mean),
        tuple(tests),
        words,
        found.why_none,
        short(arm_differences.to_record(found)),
    )


def _answers(arm: ShownArm) -> dict[tuple[int, int | None], Answers | None]:
    return {(run.result.seed, run.result.fold): run.compared for run in arm.runs}


def _leading(arm: ShownArm, by: str) -> str:
    """Return a metric that a sentence on an arm begins with, "Dice 0.812"."""
    text, range_ = mean_of(arm, by)
    return f"{tasks.metric_label(by)} {text or 'not defined'}{f' (95 % interval {range_})' if range_ else ''}"
