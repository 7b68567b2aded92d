"""How good the advice of `tlkit advise` is: a grid of every way to train every network on many image sets, and what advice lost.

    python -m benchmarks.advice                       # goes on where it was stopped, until everything is measured
    python -m benchmarks.advice --minutes 60          # begins nothing new after an hour; the same command goes on
    python -m benchmarks.advice hymenoptera fashion   # of these sets
    python -m benchmarks.advice --again advice        # ask for advice again where the grid is whole, with the tlkit of now
    python -m benchmarks.advice --table               # only print the table of what is there

Needs the real images and weights of TLKIT_TEST_DATA. Each run is a line of a JSONL file as soon as it is there. For each set: the grid
(every network here x ways x two rates where rates are trained; one seed), then `advise` with a tenth of the grid's seconds, whose recipe is
trained, and then a probe of every network with all scores. Seconds are processor time of one thread. Baselines, fixed beforehand: the
largest ImageNet accuracy, the best on average over the other families, the rule of `init --similar`, nearest neighbours alone, LogME
alone, and a random choice.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import advice_sets, advice_table, machine
from benchmarks.advice_sets import SETS
from tlkit.errors import Interrupted, TlkitError
from tlkit.record import benchmarks

ROOT = Path(__file__).parents[1]
SHARE, LEAST = 0.1, 30.0  # of the grid's seconds, for advice; seconds, at least
Line = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print the table; return 3 where a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)} (all)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after so many")
    parser.add_argument(
        "--again", choices=("advice", "probe"), help="measure this again, where the grid is whole, and nothing else"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--lines", type=Path, help="the JSONL file (benchmarks/baselines/MACHINE/advice.jsonl)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "advice", help="folder of what can be made again")
    options = parser.parse_args(arguments)
    path = options.lines or ROOT / "benchmarks" / "baselines" / benchmarks.kind(machine.gpu()) / "advice.jsonl"
    failed = 0 if options.table else _measure(options, path)
    print(advice_table.table(read(path)))
    return 3 if failed else 0


def _measure(options: argparse.Namespace, path: Path) -> int:
    """Measure what is missing, as long as there is time; return how many runs failed."""
    import torch

    torch.set_num_threads(1)  # processor time of one thread is what is told
    data = Path(os.environ.get("TLKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    os.environ.setdefault("TLKIT_WEIGHTS", str(data / "weights"))
    began, failed = time.monotonic(), 0
    for name in options.sets or list(SETS):
        advice_sets.make(name, data, options.work / "sets")
        for kind, what, carry_out in missing(name, options.work, networks(data), lambda: read(path), again=options.again):
            if time.monotonic() - began > options.minutes * 60:
                print(f"{name}: {kind} {what} and what follows are left: the same command goes on", flush=True)
                return failed
            print(f"{name}: {kind} {what}", flush=True)
            try:
                append(path, {"set": name, "kind": kind, **carry_out()})
            except Interrupted:
                raise
            except TlkitError as error:
                failed += 1
                print(f"{name}: {kind} {what} failed: {error.problem}", file=sys.stderr, flush=True)
    return failed


def networks(data: Path) -> dict[str, str]:
    """Return the networks whose weights are here, with their weights as a recipe names them.

    The larger CIFAR ResNet is left out, because it differs from the smaller one in depth alone.
    """
    return {
        "efficientnet_lite0": "imagenet",
        "squeezenet1_0": str(data / "weights" / "squeezenet1_0_rgb_imagenetnorm.npz"),
        "cifar_resnet20": "cifar10",
    }


def read(path: Path) -> list[Line]:
    """Return the lines that are there; the last one may have been cut short where the process was killed, and is left out."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def append(path: Path, line: Line) -> None:
    """Keep a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line_break = "\n" if path.is_file() and not path.read_bytes().endswith(b"\n") else ""
    with path.open("a") as file:
        file.write(line_break + json.dumps({**line, "when": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")


def missing(
    name: str, work: Path, offered: Mapping[str, str], there: Callable[[], Sequence[Line]], *, again: str | None = None
) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Yield what is not measured yet of a set: its kind, its name, and what measures it.

    Args:
        name: The set.
        work: Folder of everything that can be made again.
        offered: Networks and their weights.
        there: Returns the lines that are there.
        again: Only this kind, where the grid is whole, whether it is there or not.
    """
    from benchmarks import advice_runs  # which imports torch

    chosen = SETS[name]
    place = advice_runs.Place(work, name, chosen, {each: offered[each] for each in offered if each not in chosen.without})
    seen = {(each["kind"], each["what"]) for each in there() if each["set"] == name}
    left = [arm for arm in advice_runs.grid(place) if ("grid", arm) not in seen]
    if again is None:
        for arm in left:
            yield "grid", arm, lambda arm=arm: advice_runs.trained(place, arm)
    elif left:
        return
    if again == "advice" or (again is None and ("advice", "all") not in seen):
        yield "advice", "all", lambda: advice_runs.advised(place, budget=max(SHARE * _seconds(there(), name), LEAST))
    if again == "probe" or (again is None and ("probe", "all") not in seen):
        yield "probe", "all", lambda: advice_runs.probed(place)


def _seconds(lines: Sequence[Line], name: str) -> float:
    """Return the seconds of a set's whole grid."""
    return sum(each["seconds"] for each in lines if each["set"] == name and each["kind"] == "grid")


if __name__ == "__main__":
    sys.exit(main())
