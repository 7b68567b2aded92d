"""What an arm with [adapt] costs beside one without a method: the whole command for each, in turns, with an empty store and with a full one.

    python -m benchmarks.adaptation RECIPE [--against source_only] [--arm stats --arm coral ...] [--pairs 5] [--set KEY=VALUE] [--json FILE]

RECIPE holds its images, or $TLKIT_DATA does. Each trial is `tlkit apply --arm NAME` in a process of its own and a folder of runs of its own. A
cold pair begins with nothing stored for either side but what was measured of this machine; a warm one with the features of both domains, which
an earlier trial stored. Of each side there are the seconds of its runs, as result.json has them, and the processor time of the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import versus
from tlkit.recipe import parsing

MEASURED = "measured"  # below tlkit's cache: what was measured of this machine
KINDS = ("cold", "warm")

Trial = Mapping[str, float]  # "seconds" of the runs, and "processor" seconds of the whole command


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="with an arm without a method and others that adapt")
    parser.add_argument("--against", default="source_only", help="the arm without a method (source_only)")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME", help="an arm that adapts; by default all others")
    parser.add_argument("--pairs", type=int, default=5, help="trials of each side, cold and warm (5)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="to try it with less")
    parser.add_argument("--json", type=Path, help="where the seconds go")
    options = parser.parse_args(arguments)
    arms = options.arm or [name for name in parsing.read(options.recipe).arms if name != options.against]
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        stores = {kind: Path(scratch) / kind for kind in KINDS}
        for name in (options.against, *arms):  # measure the machine once, and store the features
            apply(options.recipe, name, options.set, cache=stores["warm"])
        for arm in arms:
            for kind in KINDS:
                for number in range(options.pairs):
                    sides = (options.against, arm) if number % 2 else (arm, options.against)
                    pair = {name: _trial(options.recipe, name, options.set, kind, stores) for name in sides}
                    print(f"{arm}, {kind}, pair {number + 1} of {options.pairs}: {pair}", file=sys.stderr, flush=True)
                    found.append({"arm": arm, "store": kind, "with": pair[arm], "without": pair[options.against]})
    if options.json:
        options.json.write_text(json.dumps({"recipe": options.recipe.name, "pairs": found}, indent=2) + "\n", encoding="utf-8")
    print(table(found))


def apply(recipe: Path, arm: str, settings: Sequence[str], *, cache: Path) -> Trial:
    """Apply one arm in a folder of runs of its own.

    Args:
        recipe: Its file.
        arm: The only arm that is applied.
        settings: "key=value".
        cache: tlkit's cache; filled.
    """
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "tlkit", "apply", str(recipe), "--arm", arm, "--runs", runs, "--offline"]
        command += [part for setting in settings for part in ("--set", setting)]
        env = {**os.environ, "TLKIT_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(versus.import_paths(versus.ROOT))}
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None  # as it was asked for
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{arm}: tlkit apply failed with code {process.returncode}:\n{said[-2000:]}")
        seconds = [json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in Path(runs).glob("*/*/result.json")]
        return {"seconds": sum(seconds), "processor": used.ru_utime + used.ru_stime}


def _trial(recipe: Path, arm: str, settings: Sequence[str], kind: str, stores: Mapping[str, Path]) -> Trial:
    """Apply an arm with an empty store, but for what was measured of this machine, or with the full one."""
    if kind == "cold":
        shutil.rmtree(stores["cold"], ignore_errors=True)
        shutil.copytree(stores["warm"] / MEASURED, stores["cold"] / MEASURED)
    return apply(recipe, arm, settings, cache=stores[kind])


def table(pairs: Sequence[Mapping[str, object]]) -> str:
    """Return a line for each arm and store: how many times as much as without a method, median, least and greatest of the pairs."""
    lines = ["| | store | seconds of the runs | processor time |", "|---|---|---|---|"]
    for arm, kind in dict.fromkeys((str(pair["arm"]), str(pair["store"])) for pair in pairs):
        mine = [pair for pair in pairs if (pair["arm"], pair["store"]) == (arm, kind)]
        cells = []
        for what in ("seconds", "processor"):
            ratios = [_of(pair, "with", what) / _of(pair, "without", what) for pair in mine]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)})")
        lines.append(f"| {arm} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(pair: Mapping[str, object], side: str, what: str) -> float:
    trial = pair[side]
    assert isinstance(trial, Mapping)  # as `main` made it
    return float(trial[what])


if __name__ == "__main__":
    main()
