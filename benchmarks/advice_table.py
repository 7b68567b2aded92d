"""What the benchmark of advice found, as tables: regret and cost of advice on each set, and the regret of each fixed rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import advice_regret
from benchmarks.advice_regret import Regret, Right
from benchmarks.advice_sets import SETS
from tlkit.advice import arms, imagenet_weights, strategies

Line = Mapping[str, Any]


def table(lines: Sequence[Line]) -> str:
    """Return the tables of the sets that are whole: the grid, advice and the probe; as Markdown."""
    whole = {name: mine for name in SETS if {"advice", "probe"} <= (mine := of_set(lines, name)).keys()}
    if not whole:
        return f"0 of {len(SETS)} sets so far"
    means = {name: {each["what"]: float(right(each).mean()) for each in mine["grid"]} for name, mine in whole.items()}
    rows, lost, held = [], dict[str, dict[str, Regret]](), list[bool]()
    for name, mine in whole.items():
        grid, (advised,) = mine["grid"], mine["advice"]
        every = np.stack([right(each) for each in grid])
        for choice, arm in baselines(name, grid, mine["probe"][0], means).items():
            chosen = next(each for each in grid if each["what"] == arm)
            lost.setdefault(choice, {})[name] = advice_regret.regret(every, right(chosen))
        lost.setdefault("random choice", {})[name] = _of_random(every)
        lost.setdefault("advise", {})[name] = found = advice_regret.regret(every, right(advised))
        if interval := advised.get("interval"):
            held.append(interval[0] <= float(right(advised).mean()) <= interval[1])
        rows.append(_row(name, grid, advised, found))
    told = [f"| {choice} | {_summary(by_set)} | {_summary(_without_source(by_set))} |" for choice, by_set in lost.items()]
    count = f"The 90 % interval of advice held {sum(held)} of {len(held)} times.\n" if held else ""
    return "\n".join(
        [
            f"{len(whole)} of {len(SETS)} sets so far.\n",
            "| set | test images | grid | best, % | advice, % | regret, points | cost | expected, % | it took |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "| choice | mean regret, points | without sets of the source |",
            "|---|---|---|",
            *told,
            "",
            count,
            *_words(whole),
        ]
    )


def _words(whole: Mapping[str, Mapping[str, Sequence[Line]]]) -> list[str]:
    """Return what the word of a probe says of depth: how far training beat the head on the last stage, by word, as lines of a table."""
    gains: dict[str, list[float]] = {}
    for mine in whole.values():
        for network, known in mine["probe"][0]["networks"].items():
            by_way = {
                each["what"].partition("-")[2]: float(right(each).mean()) for each in mine["grid"] if each["network"] == network
            }
            deep = [accuracy for way, accuracy in by_way.items() if way != "head"]
            if "head" in by_way and deep:
                gains.setdefault(known["likeness"], []).append(max(deep) - by_way["head"])
    rows = [
        f"| {word} | {len(each)} | {100 * float(np.mean(each)):+.1f} | {sum(gain > 0 for gain in each)} |"
        for word, each in gains.items()
    ]
    head = "| word | networks on sets | the best trained way less the head on the last stage, points | trained way ahead |"
    return [head, "|---|---|---|---|", *rows]


def of_set(lines: Sequence[Line], name: str) -> dict[str, list[Line]]:
    """Return the lines of a set by kind; of advice and the probe the last one counts, and of a configuration too."""
    found: dict[str, dict[str, Line]] = {}
    for each in lines:
        if each["set"] == name:
            found.setdefault(each["kind"], {})[each["what"]] = each
    return {kind: list(mine.values()) for kind, mine in found.items()}


def _row(name: str, grid: Sequence[Line], advised: Line, found: Regret) -> str:
    every = right(grid[0]).size
    best, seconds = max(float(right(each).mean()) for each in grid), sum(each["seconds"] for each in grid)
    low, high = (100 * each for each in found.interval)
    cells = (
        f"{name}{' (of the source)' if SETS[name].of_source else ''}", str(every), str(len(grid)), f"{100 * best:.1f}",
        f"{100 * float(right(advised).mean()):.1f}", f"{100 * found.mean:.1f} ({low:.1f} to {high:.1f})",
        f"{advised['seconds'] / seconds:.0%} of {seconds / 60:.1f} min",
        f"{100 * advised['expected']:.1f}" if "expected" in advised else "", f"{advised['network']}, {advised['way']}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def baselines(name: str, grid: Sequence[Line], probe: Line, means: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return the configuration that each fixed rule chooses on a set.

    Args:
        name: The set.
        grid: Its configurations.
        probe: What was measured of each network.
        means: Of each set the accuracy of each configuration.
    """
    names = list(dict.fromkeys(each["network"] for each in grid))
    largest = advice_regret.by(_top1, names)
    rule = {"few": "head", "some": "late", "many": arms.DEFAULT}[strategies.amount(probe["least"])]
    families = {each: SETS[each].family for each in means}
    found = {
        "largest ImageNet accuracy": f"{largest}-{arms.DEFAULT}",
        "rule of init --similar": f"{largest}-{rule}",
    }
    if any(family != families[name] for family in families.values()):
        found["best on average elsewhere"] = advice_regret.best_elsewhere(means, families, name)
    for score, key in (("nearest neighbours", "neighbours"), ("LogME", "LogME")):
        best = max(names, key=lambda each, key=key: probe["networks"].get(each, {}).get(key, -math.inf))
        found[f"{score} alone"] = f"{best}-{arms.DEFAULT}"
    there = {each["what"] for each in grid}
    return {choice: arm for choice, arm in found.items() if arm in there}


def right(line: Line) -> Right:
    """Return which test images a line has right."""
    return np.array([each == "1" for each in line["right"]])


def _top1(backbone: str) -> float:
    known = imagenet_weights.published(backbone, "imagenet") or imagenet_weights.published(backbone, "imagenet1k-v1")
    return 0.0 if known is None else known.top1


def _of_random(whole: Right) -> Regret:
    found = [advice_regret.regret(whole, each) for each in whole]
    ends = [float(np.mean([each.interval[end] for each in found])) for end in (0, 1)]
    return Regret(float(np.mean([each.mean for each in found])), (ends[0], ends[1]))


def _without_source(found: Mapping[str, Regret]) -> dict[str, Regret]:
    return {name: each for name, each in found.items() if not SETS[name].of_source}


def _summary(found: Mapping[str, Regret]) -> str:
    if not found:
        return ""
    means = [each.mean for each in found.values()]
    low, high = advice_regret.mean_interval(means)
    worst = max(found, key=lambda name: found[name].mean)
    at = [f"{100 * each:.1f}" for each in (found[worst].mean, *found[worst].interval)]
    mean = f"{100 * float(np.mean(means)):.1f} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{mean}, largest {at[0]} ({at[1]} to {at[2]}) on {worst}"
