"""How good the advice of `tlkit advise` is: a grid of every way to train every network on many image sets, and what advice lost.

    python -m benchmarks.advice                       # goes on where it was stopped, until everything is measured
    python -m benchmarks.advice --minutes 60          # begins nothing new after an hour; the same command goes on
    python -m benchmarks.advice hymenoptera fashion   # of these sets
    python -m benchmarks.advice --table               # only print the table of what is there

Needs the real images and weights of TLKIT_TEST_DATA. Each run is a line of a JSONL file as soon as it is there. For each set: the grid
(every network here x ways x two rates where rates are trained; one seed), then `advise` with a tenth of the grid's seconds, whose recipe is
applied, and then a probe with scores (run first, it would leave its stored outputs to `advise`). Baselines, fixed beforehand: the largest ImageNet
accuracy, the best on average over the other families, the rule of `init --similar`, nearest neighbours alone, LogME alone,
and a random choice.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import tlkit
from benchmarks import advice_regret, advice_sets, machine
from benchmarks.advice_regret import Right
from benchmarks.advice_sets import SETS, ImageSet
from tlkit.advice import arms, imagenet_weights, strategies
from tlkit.errors import Interrupted, TlkitError
from tlkit.plugin import Backbone, registry
from tlkit.record import benchmarks, predictions
from tlkit.record.advice import Candidate

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "advice"
EPOCHS, SHARE = 10, 0.1  # of a run; of the grid's seconds, for advice
RATES = (1.0, 0.3)
Line = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print the table; return 3 where a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)} (all)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after so many")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    path = ROOT / "benchmarks" / "baselines" / benchmarks.kind(machine.gpu()) / "advice.jsonl"
    data = Path(os.environ.get("TLKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    os.environ.setdefault("TLKIT_WEIGHTS", str(data / "weights"))
    began, failed = time.monotonic(), 0
    for name in [] if options.table else options.sets or list(SETS):
        folder = advice_sets.make(name, data, WORK / "sets")
        for what, carry_out in _missing(name, folder, networks(data), read(path)):
            if time.monotonic() - began > options.minutes * 60:
                print(f"{name}: {what} and what follows are left: the same command goes on", flush=True)
                break
            print(f"{name}: {what}", flush=True)
            try:
                append(path, carry_out())
            except Interrupted:
                raise
            except TlkitError as error:
                failed += 1
                print(f"{name}: {what} failed: {error.problem}", file=sys.stderr, flush=True)
    print(table(read(path)))
    return 3 if failed else 0


def networks(data: Path) -> dict[str, str]:
    """Return the networks whose weights are here, with their weights as a recipe names them."""
    return {
        "efficientnet_lite0": "imagenet",
        "squeezenet1_0": str(data / "weights" / "squeezenet1_0_rgb_imagenetnorm.npz"),
        "cifar_resnet20": "cifar10",
        "cifar_resnet56": "cifar10",
    }


def read(path: Path) -> list[Line]:
    """Return the lines that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append(path: Path, line: Line) -> None:
    """Keep a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({**line, "when": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")


def _missing(name: str, folder: Path, offered: Mapping[str, str], there: Sequence[Line]) -> Iterator[tuple[str, Any]]:
    """Yield what is not measured yet of a set, in words, with what measures it."""
    chosen, mine = SETS[name], {(each["kind"], each["what"]) for each in there if each["set"] == name}
    offered = {backbone: weights for backbone, weights in offered.items() if backbone not in chosen.without}
    recipe = WORK / f"{name}.toml"
    grid = grid_of(chosen, folder, offered)
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(tomli_w.dumps({"format": 1, "name": name, "arms": grid}))
    for arm, tables in grid.items():
        if ("grid", arm) not in mine:
            backbone = tables["backbone"]["name"]
            yield (
                f"grid, {arm}",
                lambda arm=arm, backbone=backbone: {**_applied(name, recipe, arm), "kind": "grid", "network": backbone},
            )
    if ("advice", "all") not in mine:
        seconds = sum(each["seconds"] for each in read_of(name) if each["kind"] == "grid")
        yield "advice", lambda: _advised(name, folder, offered, budget=max(SHARE * seconds, 30.0), tries=True)
    if ("probe", "all") not in mine:
        yield "probe", lambda: _advised(name, folder, offered, budget=3600.0, tries=False)


def read_of(name: str) -> list[Line]:
    """Return the lines of a set."""
    path = ROOT / "benchmarks" / "baselines" / benchmarks.kind(machine.gpu()) / "advice.jsonl"
    return [each for each in read(path) if each["set"] == name]


def grid_of(chosen: ImageSet, folder: Path, offered: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the arms of a set's grid by name, "NETWORK-WAY" and "NETWORK-WAY_x0.3"."""
    least = min(sum(1 for _ in each.iterdir()) for each in (folder / "train").iterdir())
    found = {}
    for backbone, weights in offered.items():
        plugin = registry.get(Backbone, backbone)
        size, stages = min(chosen.size, plugin.image_size), tuple(plugin.stages)
        base = {
            "backbone": {"name": backbone, "weights": weights},
            "data": {"name": "folder", "image_size": size, "batch_size": 32, "augment": ["random_crop", "hflip"],
                     "options": {"path": str(folder)}},
            "optimizer": {"name": "adamw"}, "schedule": {"name": "one_cycle", "epochs": EPOCHS},
        }  # fmt: skip
        plain = Candidate(backbone, weights, (size, size), best=stages[-1], likeness="similar", fit="the same for every set")
        for way in arms.ways(base, plain, stages=stages, single=True, least=least):
            for rate in (1.0,) if way.solved else RATES:
                tried = way if rate == 1.0 else way.faster(rate)
                found[f"{backbone}-{tried.name}"] = tried.at(split=None, epochs=EPOCHS)
    return found


def _applied(name: str, recipe: Path, arm: str | None) -> Line:
    began = time.monotonic()
    applied = tlkit.apply(recipe, arm=arm, runs=WORK / "runs")
    if applied.failures:
        raise applied.failures[0]
    seconds = time.monotonic() - began
    pattern = f"{arm}-s0-*" if arm else "*-s0-*"
    run = max(applied.folder.glob(pattern), key=lambda each: each.stat().st_mtime)
    answers = predictions.answers(run, "test")
    if answers is None:
        raise TlkitError(f"{run}: has no predictions of test images.")
    order = np.argsort(answers.index)
    return {
        "set": name,
        "what": arm or "all",
        "seconds": seconds,
        "right": "".join("01"[int(each)] for each in answers.right[order]),
    }


def _advised(name: str, folder: Path, offered: Mapping[str, str], *, budget: float, tries: bool) -> Line:
    asked = ",".join(f"{backbone}={weights}" for backbone, weights in offered.items())
    out, began = WORK / f"{name}-{'advised' if tries else 'probed'}.toml", time.monotonic()
    found = tlkit.advise(
        folder, budget=budget, backbones=asked, out=out, tries=tries, scores=not tries, runs=WORK / "runs", offline=True
    )
    seconds = time.monotonic() - began
    line = {"set": name, "what": "all", "kind": "advice" if tries else "probe", "budget": budget, "seconds": seconds}
    if not tries:
        candidates = {
            each.backbone: {"neighbours": each.stage(each.best).neighbours, **each.scores}
            for each in found.candidates
            if each.stages
        }
        return {**line, "networks": candidates}
    expected = found.expected[0] if found.expected else None
    told = {} if expected is None else {"expected": expected.accuracy, "interval": list(expected.interval)}
    return {**line, **told, "sentence": found.sentence, "right": _applied(name, out, None)["right"]}


def table(lines: Sequence[Line]) -> str:
    """Return the table of what is there, as Markdown."""
    grids = {name: [each for each in lines if each["set"] == name and each["kind"] == "grid"] for name in SETS}
    grids = {name: rows for name, rows in grids.items() if rows}
    means = {name: {each["what"]: float(right(each).mean()) for each in rows} for name, rows in grids.items()}
    families = {name: SETS[name].family for name in grids}
    rows, lost, held = [], {}, []
    for name, grid in grids.items():
        of_kind = {
            kind: next((each for each in lines if each["set"] == name and each["kind"] == kind), None)
            for kind in ("probe", "advice")
        }
        whole, advised = np.stack([right(each) for each in grid]), of_kind["advice"]
        chosen = baselines(name, grid, of_kind["probe"], means, families)
        for choice, arm in chosen.items():
            lost.setdefault(choice, {})[name] = advice_regret.regret(
                whole, right(next(each for each in grid if each["what"] == arm))
            )
        lost.setdefault("random choice", {})[name] = _of_random(whole)
        if advised is None:
            continue
        found = advice_regret.regret(whole, right(advised))
        lost.setdefault("advise", {})[name] = found
        accuracy, seconds = float(right(advised).mean()), sum(each["seconds"] for each in grid)
        interval = advised.get("interval")
        if interval:
            held.append(interval[0] <= accuracy <= interval[1])
        low, high = (100 * each for each in found.interval)
        expected = f"{100 * advised['expected']:.1f}" if "expected" in advised else ""
        cells = (
            f"{name}{' (of the source)' if SETS[name].of_source else ''}", str(len(grid)), f"{100 * max(means[name].values()):.1f}",
            f"{100 * accuracy:.1f}", f"{100 * found.mean:.1f} ({low:.1f} to {high:.1f})", f"{advised['seconds'] / seconds:.0%}", expected,
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    head = "| set | grid | best | advice | regret, points | cost | expected |\n|---|---|---|---|---|---|---|"
    told = []
    for choice, by_set in lost.items():
        others = {name: each for name, each in by_set.items() if not SETS[name].of_source}
        told.append(f"| {choice} | {_summary(by_set)} | {_summary(others)} |")
    second = "| choice | mean regret | without sets of the source |\n|---|---|---|"
    count = f"advice's 95 % interval held {sum(held)} of {len(held)} times" if held else ""
    return "\n".join([head, *rows, "", second, *told, "", count])


def baselines(
    name: str, grid: Sequence[Line], probe: Line | None, means: Mapping[str, Mapping[str, float]], families: Mapping[str, str]
) -> dict[str, str]:
    """Return the arm that each fixed rule chooses on a set."""
    names = list(dict.fromkeys(each["network"] for each in grid))
    largest = advice_regret.by(_top1, names)
    train = WORK / "sets" / name / "train"
    least = min((sum(1 for _ in each.iterdir()) for each in train.iterdir()), default=0) if train.is_dir() else 0
    rule = {"few": "head", "some": "late", "many": arms.DEFAULT}[strategies.amount(least)]
    found = {
        "largest ImageNet accuracy": f"{largest}-{arms.DEFAULT}",
        "best on average elsewhere": advice_regret.best_elsewhere(means, families, name),
        "rule of init --similar": f"{largest}-{rule}",
    }
    for score in ("neighbours", "LogME") if probe is not None else ():
        values = probe["networks"] if probe is not None else {}
        best = advice_regret.by(lambda each: values.get(each, {}).get(score, -math.inf), names)  # noqa: B023  # used at once
        found[f"{score} alone"] = f"{best}-{arms.DEFAULT}"
    there = {each["what"] for each in grid}
    return {choice: arm for choice, arm in found.items() if arm in there}


def _top1(backbone: str) -> float:
    known = imagenet_weights.published(backbone, "imagenet") or imagenet_weights.published(backbone, "imagenet1k-v1")
    return 0.0 if known is None else known.top1


def right(line: Line) -> Right:
    """Return which test images a line has right."""
    return np.array([each == "1" for each in line["right"]])


def _of_random(whole: Right) -> advice_regret.Regret:
    found = [advice_regret.regret(whole, each) for each in whole]
    ends = [float(np.mean([each.interval[end] for each in found])) for end in (0, 1)]
    return advice_regret.Regret(float(np.mean([each.mean for each in found])), (ends[0], ends[1]))


def _summary(found: Mapping[str, advice_regret.Regret]) -> str:
    if not found:
        return ""
    means = [each.mean for each in found.values()]
    low, high = advice_regret.mean_interval(means)
    worst = max(found, key=lambda name: found[name].mean)
    return f"{100 * float(np.mean(means)):.1f} ({100 * low:.1f} to {100 * high:.1f}), largest {100 * found[worst].mean:.1f} on {worst}"


if __name__ == "__main__":
    sys.exit(main())
