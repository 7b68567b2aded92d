"""Fit the constants of `tlkit advise` to measured image sets, and tell how well they choose a network on families that they have not seen.

    python -m benchmarks.advice_fit            # tells
    python -m benchmarks.advice_fit --write    # and writes tlkit/advice/fitted.json, from six families on

It reads the lines of `python -m benchmarks.advice`. The weights that order networks are a ridge regression of the logit of a network's best
test accuracy on what a probe knows of it, both less their mean over the networks of a set: only differences count. No weight is below 0. That of
ImageNet accuracy stays at the judgement where fewer than three networks have one: it would say which network is which. Penalty and regret are
judged on families that are left out whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from benchmarks import advice, advice_table, machine
from benchmarks.advice_sets import SETS
from tlkit import files
from tlkit.advice import fitted, ranking
from tlkit.advice.fitted import FEATURES, Fitted
from tlkit.record import benchmarks

FEWEST = 6  # families; with fewer a ridge of four weights follows single sets
PENALTIES = (0.1, 1.0, 10.0, 100.0)
NETWORKS = 3  # of known and different accuracy on ImageNet, without which its weight stays at the judgement
JUDGED = {"probe": 1.0, "prior": 0.5, "NLEEP": 0.0, "GBC": 0.0}  # without any set
Floats = NDArray[np.float64]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What is known of the networks of one set.

    Attributes:
        name: The set.
        family: Its own.
        networks: Their names.
        features: (networks, `FEATURES`).
        best: Logit of the best test accuracy of each (networks,).
        accuracy: The same as an accuracy.
        top1: Published accuracies on ImageNet, of the networks that have one.
    """

    name: str
    family: str
    networks: tuple[str, ...]
    features: Floats
    best: Floats
    accuracy: Floats
    top1: frozenset[float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell, and write if that is asked; return 1 where there is too little to fit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice_fit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=Path, help="the JSONL file (benchmarks/baselines/MACHINE/advice.jsonl)")
    parser.add_argument("--write", action="store_true", help="write tlkit/advice/fitted.json")
    options = parser.parse_args(arguments)
    path = options.lines or advice.ROOT / "benchmarks" / "baselines" / benchmarks.kind(machine.gpu()) / "advice.jsonl"
    lines = advice.read(path)
    known = gathered(lines)
    families = {each.family for each in known}
    print(f"{len(known)} sets of {len(families)} families with two networks or more and a probe")
    if len(families) < 2:
        return 1
    penalty, lost = judged(known)
    for name, each in lost.items():
        print(f"{name}: the chosen network is {100 * each:.1f} points behind the best one on average")
    found = Fitted(len(known), datetime.now(UTC).date().isoformat(), weights(known, penalty), errors(lines))
    print(json.dumps(found.record()))
    if not options.write:
        return 0
    if len(families) < FEWEST:
        print(f"{len(families)} families are too few: {FEWEST} or more; the weights stay, and what advice expected is written")
        found = Fitted(0, found.date, fitted.load().weights, found.errors)
    files.replace(fitted.FILE, json.dumps(found.record(), indent=2) + "\n")
    return 0


def gathered(lines: Sequence[Line]) -> list[Known]:
    """Return what is known of each set that has a probe and a grid of two networks or more."""
    found = []
    for name, chosen in SETS.items():
        mine = advice_table.of_set(lines, name)
        if "probe" not in mine or "grid" not in mine:
            continue
        best: dict[str, float] = {}
        for each in mine["grid"]:
            best[each["network"]] = max(best.get(each["network"], 0.0), float(advice_table.right(each).mean()))
        probe = mine["probe"][0]["networks"]
        names = tuple(each for each in best if each in probe)
        if len(names) < 2:
            continue
        images = len(mine["grid"][0]["right"])
        rows = [
            ranking.features(
                probe[each]["accuracy"], probe[each]["sample"], probe[each]["top1"], probe[each], mine["probe"][0]["classes"]
            )
            for each in names
        ]
        accuracy = np.array([best[each] for each in names])
        inside = np.clip(accuracy, 0.5 / images, 1 - 0.5 / images)
        features = np.array([[row[feature] for feature in FEATURES] for row in rows])
        top1 = frozenset(probe[each]["top1"] for each in names if probe[each]["top1"] is not None)
        found.append(Known(name, chosen.family, names, features, np.log(inside / (1 - inside)), accuracy, top1))
    return found


def weights(known: Sequence[Known], penalty: float) -> dict[str, float]:
    """Return the ridge's weight of each feature, 0 or more: each of them is larger for the better network.

    Args:
        known: Sets; one at least.
        penalty: On squared differences from `JUDGED`, of features in units of their spread within sets.
    """
    x = np.concatenate([each.features - each.features.mean(0) for each in known])
    y = np.concatenate([each.best - each.best.mean() for each in known])
    spread = np.maximum(np.sqrt((x**2).mean(0)), 1e-9)
    judged = spread * np.array([JUDGED[name] for name in FEATURES])
    scaled = x / spread
    stays = np.array(
        [name == "prior" and len(frozenset().union(*(each.top1 for each in known))) < NETWORKS for name in FEATURES]
    )
    y = y - scaled[:, stays] @ judged[stays]
    free = scaled[:, ~stays]
    rows = np.concatenate([free, np.sqrt(penalty) * np.eye(free.shape[1])])
    solved = judged.copy()
    solved[~stays] = optimize.nnls(rows, np.concatenate([y, np.sqrt(penalty) * judged[~stays]]))[0]
    return {name: round(float(each), 6) for name, each in zip(FEATURES, solved / spread, strict=True)}


def judged(known: Sequence[Known]) -> tuple[float, dict[str, float]]:
    """Return the penalty that predicts left-out families best, and the mean regret of each way to choose a network.

    Args:
        known: Sets of two families or more.
    """
    off = {penalty: float(np.mean([_squared(each, _without(known, each, penalty)) for each in known])) for penalty in PENALTIES}
    penalty = min(off, key=lambda each: off[each])
    plain = fitted.load().weights
    alone = {name: {**dict.fromkeys(FEATURES, 0.0), name: 1.0} for name in FEATURES}
    chosen = {
        f"ridge, family left out (penalty {penalty:g})": [_lost(each, _without(known, each, penalty)) for each in known],
        "weights that ship": [_lost(each, plain) for each in known],
        **{f"{name} alone": [_lost(each, mine) for each in known] for name, mine in alone.items()},
    }
    return penalty, {name: float(np.mean(each)) for name, each in chosen.items()}


def errors(lines: Sequence[Line]) -> tuple[float, ...]:
    """Return how far the accuracy that advice expected was from that of the tested run, of each set where it expected one."""
    found = []
    for name in SETS:
        for each in advice_table.of_set(lines, name).get("advice", ()):
            if "expected" in each:
                found.append(round(abs(each["expected"] - float(advice_table.right(each).mean())), 4))
    return tuple(found)


def _without(known: Sequence[Known], left_out: Known, penalty: float) -> dict[str, float]:
    return weights([each for each in known if each.family != left_out.family], penalty)


def _squared(each: Known, mine: Mapping[str, float]) -> float:
    predicted = each.features @ [mine[name] for name in FEATURES]
    return float((((predicted - predicted.mean()) - (each.best - each.best.mean())) ** 2).mean())


def _lost(each: Known, mine: Mapping[str, float]) -> float:
    chosen = int((each.features @ [mine[name] for name in FEATURES]).argmax())
    return float(each.accuracy.max() - each.accuracy[chosen])


if __name__ == "__main__":
    sys.exit(main())
