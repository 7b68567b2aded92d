"""`tlkit apply` of a recipe at an earlier commit and as it is here, in turns.

    python -m benchmarks.versus COMMIT [--pairs 3] [--recipe recipes/quickstart.toml] [--set KEY=VALUE] [--json FILE]

Each trial is the whole command in a process of its own, with nothing stored but what that side measured of the machine in a trial before
the others that is not counted. A line is an arm: seconds of its epochs, and how many times as long they take here as at the commit, median,
least and greatest of the pairs. The last line is the whole process.
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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHOLE = "whole process"
_PATHS = (".", "plugins", "plugins/tlkit-efficientnet-lite")  # below a checkout, where tlkit and its plugins are imported from
_MEASURED = "measured"  # below tlkit's cache: what was measured of this machine

Seconds = Mapping[str, float]  # of each arm, and of the whole process


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus", description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the earlier one, as git names it")
    parser.add_argument("--pairs", type=int, default=3, help="trials of each side (3)")
    parser.add_argument("--recipe", default="recipes/quickstart.toml", help="that both sides have (recipes/quickstart.toml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="to try it with less")
    parser.add_argument("--json", type=Path, help="where the seconds go")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch, checkout(options.commit, Path(scratch) / "commit") as before:
        sides = {"before": before, "after": ROOT}
        done: list[dict[str, Seconds]] = []
        for number in range(options.pairs + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            found = {
                side: trial(sides[side], options.recipe, options.set, kept=Path(scratch) / f"{side}-{_MEASURED}")
                for side in order
            }
            print(f"pair {number} of {options.pairs}: {found}", file=sys.stderr, flush=True)
            done += [found] if number else []
    if options.json:
        options.json.write_text(json.dumps({"commit": options.commit, "pairs": done}, indent=2) + "\n", encoding="utf-8")
    print(table(done))


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder for as long as the context lasts."""
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(folder), commit], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)


def trial(side: Path, recipe: str, settings: Sequence[str], *, kept: Path, program: Sequence[str] = ("-m", "tlkit")) -> Seconds:
    """Apply a recipe once; return the seconds of each arm's epochs, and of the whole process.

    Args:
        side: A checkout.
        recipe: Its path below that.
        settings: "key=value".
        kept: Folder of what this side measured of the machine.
        program: What Python runs with the words of the command line.
    """
    with tempfile.TemporaryDirectory() as scratch:
        cache, runs = Path(scratch) / "cache", Path(scratch) / "runs"
        if kept.is_dir():
            shutil.copytree(kept, cache / _MEASURED)
        env = {**os.environ, "TLKIT_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(import_paths(side))}
        command = [sys.executable, *program, "apply", recipe, "--runs", str(runs), "--offline"]
        command += [part for setting in settings for part in ("--set", setting)]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=side, env=env, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{side}: tlkit apply failed with code {done.returncode}:\n{done.stderr[-2000:]}")
        if (cache / _MEASURED).is_dir():
            shutil.copytree(cache / _MEASURED, kept, dirs_exist_ok=True)
        return {**_arms(runs), WHOLE: whole}


def import_paths(checkout: Path) -> list[str]:
    """Return where tlkit and its plugins are imported from in a checkout."""
    return [str(checkout / path) for path in _PATHS]


def _arms(runs: Path) -> dict[str, float]:
    """Return the seconds of the epochs of every arm below a folder, over all its seeds and folds."""
    found: dict[str, float] = {}
    for file in sorted(runs.glob("*/*/metrics.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        arm = file.parent.name.rpartition("-s")[0]
        found[arm] = found.get(arm, 0.0) + sum(json.loads(line)["seconds"] for line in lines)
    return found


def table(pairs: Sequence[Mapping[str, Seconds]]) -> str:
    """Return a line for each arm and the whole process."""
    lines = ["| | before, s | after, s | after / before |", "|---|---|---|---|"]
    for name in pairs[0]["after"]:
        before, after = ([pair[side][name] for pair in pairs] for side in ("before", "after"))
        ratios = [there / here for here, there in zip(before, after, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)})"
        lines.append(f"| {name} | {statistics.median(before):.1f} | {statistics.median(after):.1f} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
