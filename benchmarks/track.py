"""Run the benchmarks, add them to the history, and fail where one became slower than the baseline.

    make bench-track                       # python -m benchmarks.track
    make bench-track ARGS=--update         # and make its figures the baseline

Only ratios to a plain PyTorch loop timed in turns are compared, and only with the same kind of machine. Exit code 1: something
became slower; another: a benchmark failed, and what the others measured is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record, Verdict

ROOT = Path(__file__).parents[1]
BASELINES = ROOT / "benchmarks" / "baselines"
FAILED = 2  # the exit code where a benchmark failed; pytest's own is 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, keep, compare and print."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        path = options.results or Path(scratch) / "results.json"
        code = 0 if options.results else run(path, options)
        # Of a session that failed, whatever there is.
        records = read(_written(path) if code else json.loads(path.read_text()), commit=commit())
    if code and not records:
        return code
    folder = options.baselines / benchmarks.kind(_gpu())
    slower = track(folder, records, update=options.update, whole=not (options.only or code))
    if code:
        print("A benchmark failed, see above; what the others measured is kept.")
    return code or slower


def track(folder: Path, records: Sequence[Record], *, update: bool, whole: bool = True) -> int:
    """Add a session to a machine's history and hold it against the baseline.

    Args:
        folder: Of that kind of machine.
        records: The session's.
        update: Make the session the baseline, whatever it shows.
        whole: Whether every benchmark was run.

    Returns:
        The exit code: 1 where something is slower than the baseline allows, and it is not replaced.
    """
    against = benchmarks.baseline(folder)
    ran = {record.key for record in records}
    verdicts = benchmarks.compare(records, [each for each in against if whole or each.key in ran])
    benchmarks.add(folder, records)
    Console(width=None if sys.stdout.isatty() else 200).print(table(verdicts))
    if update:
        benchmarks.rebase(folder, [*records, *(each for each in against if not whole and each.key not in ran)])
        print(f"{folder / benchmarks.BASELINE}: holds these figures now.")
        return 0
    if not against:
        print(f"{folder}: there is no baseline of this kind of machine; --update makes these figures one.")
    for verdict in verdicts:
        if verdict.slower or verdict.unlike:
            print(f"{'-'.join(verdict.key)}: {verdict.words}.")
    if any(verdict.unlike for verdict in verdicts):
        print("--update makes the present session the baseline.")
    return 1 if any(verdict.slower for verdict in verdicts) else 0


def run(path: Path, options: argparse.Namespace) -> int:
    """Run the benchmarks into a JSON file of pytest-benchmark's; return pytest's exit code, FAILED in place of 1."""
    command = [sys.executable, "-m", "pytest", "benchmarks/test_recipes.py", "--benchmark-enable", "--benchmark-only", "-q"]
    command += [f"--bench-images={options.images}", f"--bench-rounds={options.rounds}", f"--benchmark-json={path}"]
    command += [f"--bench-recipes={options.recipes.resolve()}", "-p", "no:cacheprovider"]
    code = subprocess.run([*command, *(["-k", options.only] if options.only else [])], cwd=ROOT, check=False).returncode
    return FAILED if code == pytest.ExitCode.TESTS_FAILED else code


def read(results: Mapping[str, Any], *, commit: str = "") -> list[Record]:
    """Return the records of a JSON file that pytest-benchmark wrote; all bear the session's date."""
    date = datetime.fromisoformat(results["datetime"]) if "datetime" in results else datetime.now(UTC)
    stamp = (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat(timespec="seconds")
    # A benchmark that failed once it was timed has times and no figures.
    infos = [each["extra_info"] for each in results.get("benchmarks", []) if each["extra_info"]]
    return [Record(date=stamp, commit=commit, **info) for info in infos]


def _written(path: Path) -> Mapping[str, Any]:
    """Return what pytest-benchmark wrote before it ended; nothing where it did not come so far."""
    try:
        return cast(Mapping[str, Any], json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def commit() -> str:
    """Return the first digits of the checkout's commit, a "+" behind them where files differ; "" outside git."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    digits = git("rev-parse", "--short=12", "HEAD")
    return digits + "+" if digits and git("status", "--porcelain", "--untracked-files=no") else digits


def table(verdicts: Iterable[Verdict]) -> Table:
    """Return what the session says, a line a benchmark."""
    shown = Table("benchmark", box=None, pad_edge=False, padding=(0, 2, 0, 0), title="tlkit against a plain loop, times faster")
    for name in ("images/s", "ratio", "spread", "baseline", "change", "allowed"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict")
    for each in verdicts:
        now, before = each.now, each.baseline
        shown.add_row(
            "-".join(each.key),
            f"{now.images_per_second:,.1f}" if now else "",
            f"{now.ratio:.2f}" if now else "",
            f"{now.spread:.1%}" if now else "",
            f"{before.ratio:.2f}" if before else "",
            "" if each.change is None else f"{each.change:+.1%}",
            "" if each.change is None else f"-{each.allowed:.0%}",
            Text(each.words, style="bold red" if each.slower else ""),
        )
    return shown


def _gpu() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.machine import gpu; print(gpu())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.track", description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="make these figures the baseline")
    parser.add_argument("--images", type=int, default=512, help="training images of a benchmark, at most (512)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of plain loop and tlkit (5)")
    parser.add_argument("--only", default="", help="benchmarks whose name this matches, as pytest -k")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="folder of the recipes (recipes)")
    parser.add_argument("--results", type=Path, help="read this JSON file of pytest-benchmark's instead of running")
    parser.add_argument("--baselines", type=Path, default=BASELINES, help="folder of the histories")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
