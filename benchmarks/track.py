"""Run the benchmarks, keep each result, and fail where one became slower than the baseline.

    make bench-track                                      # python -m benchmarks.track
    make bench-track ARGS=--list                          # what there is, without running anything
    make bench-track ARGS="--only quickstart-head_only"   # one benchmark
    make bench-track ARGS=--continue                      # go on with a session that was stopped
    make bench-track ARGS=--update                        # and make the results the baseline

Only ratios to a plain PyTorch loop timed in turns are compared, and only with the same kind of machine. Exit code 1: something
became slower; 2: a benchmark failed; 130: stopped. What was measured by then is kept in each case.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import machine, pair, session, verdicts
from benchmarks.cases import Job
from benchmarks.session import Benchmark, Here
from tlkit import units
from tlkit.errors import TlkitError
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record

ROOT = Path(__file__).parents[1]
BASELINES = ROOT / "benchmarks" / "baselines"
SLOWER, FAILED, STOPPED = 1, 2, 130  # exit codes; the last as a shell's after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose the benchmarks, say what is not compared, run, keep, compare and print."""
    parser = _parser()
    try:
        return _session(parser, parser.parse_args(arguments))
    except TlkitError as error:  # a recipe that is not TOML, a baseline that is damaged
        print(error, file=sys.stderr)
        return FAILED


def _session(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    folder = options.baselines / benchmarks.kind(machine.gpu())
    against = benchmarks.baseline(folder)
    modes = ["eager", "captured"] if machine.gpu() else ["eager"]
    chosen = session.choose(options.recipes, modes, against, only=options.only, images=options.images)
    if not chosen and options.only:
        parser.error(f"--only {' '.join(options.only)}: matches no benchmark; --list shows their names")
    if not chosen:
        parser.error(f"--recipes {options.recipes}: holds no recipe with an arm that a plain loop can train")
    here = _here(options.rounds)
    if options.list:
        verdicts.show(verdicts.listing(chosen, here, folder))
        return 0
    for line in verdicts.foretold(chosen, here, kept=options.keep or options.update):
        print(line)
    records = session.begun(folder, here, chosen) if options.go_on else []
    here = replace(here, date=min([here.date, *(each.date for each in records)]))  # all results of a session have one date
    session.begin(folder, records)
    with _own_folders():
        code = run(folder, here, chosen, records, keep=options.keep or options.update)
    if records:
        whole = not options.only and not code
        slower = verdicts.judge(folder, records, against, update=options.update, whole=whole)
        return code or (SLOWER if slower else 0)
    return code


def run(folder: Path, here: Here, chosen: Sequence[Benchmark], records: list[Record], *, keep: bool) -> int:
    """Measure what has no record yet, and add and keep each record as soon as it is there.

    Args:
        folder: Of this kind of machine.
        here: The session.
        chosen: The benchmarks.
        records: Results that are there; the others are added.
        keep: Whether results that cannot be compared go into the history too.

    Returns:
        0, FAILED or STOPPED.
    """
    there = {each.key for each in records}
    left = [each for each in chosen if each.key not in there]
    if there:
        print(f"{len(there)} of {len(chosen)} benchmarks were measured before; going on with the others.")
    code = 0
    rates = machine.rates() if left else {}
    with _bar() as bar:
        task = bar.add_task("", total=len(left) * pair.steps(here.rounds))
        for number, benchmark in enumerate(left):
            bar.update(task, description=benchmark.name, completed=number * pair.steps(here.rounds))
            try:
                told, report = partial(_tell, bar, benchmark, here), partial(bar.advance, task)
                record = session.measure(benchmark, here, rates, told=told, report=report)
            except KeyboardInterrupt:
                _say(bar, f"Stopped. {len(records)} of {len(chosen)} benchmarks are kept; --continue measures the others.")
                return STOPPED
            except Exception:  # whatever is wrong with one benchmark, the others are measured
                _say(bar, f"{benchmark.name}: failed:\n{traceback.format_exc()}")
                code = FAILED
                continue
            records.append(record)
            unlike = record.conditions.unlike(benchmark.before.conditions) if benchmark.before else session.NO_BASELINE
            session.keep(folder, record, history=keep or not unlike)
            (verdict,) = benchmarks.compare([record], [benchmark.before] if benchmark.before else [])
            _say(bar, f"{benchmark.name}: {record.ratio:.2f} times a plain loop; {verdict.words}")
        bar.update(task, description="done", completed=len(left) * pair.steps(here.rounds))
    if code:
        print("A benchmark failed, see above; what the others measured is kept.")
    return code


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _say(bar: Progress, line: str) -> None:
    bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell(bar: Progress, benchmark: Benchmark, here: Here, job: Job) -> None:
    """Say what is measured now, and whether its result can be compared, which is known for certain only now."""
    unlike = benchmark.unlike(here, job)
    said = f"; cannot be compared: {unlike}" if unlike and not benchmark.unlike(here) else ""
    _say(bar, f"{benchmark.name}: {units.images(job.train)}, {units.counted(here.rounds, 'round')}{said}")


def _here(rounds: int) -> Here:
    import torch

    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Here(torch.__version__, torch.get_num_threads(), commit(), now, rounds)


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


@contextmanager
def _own_folders() -> Iterator[None]:
    """Keep benchmarks out of the user's caches, and the user's caches out of the figures."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(TLKIT_CACHE=f"{scratch}/cache", TLKIT_DATA=f"{scratch}/data")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.track", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--list", action="store_true", help="show the benchmarks and what the baseline has of them, run nothing"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="part of a benchmark's name, or a pattern; may be repeated"
    )
    parser.add_argument("--rounds", type=session.at_least_one, default=5, help="pairs of plain loop and tlkit (5)")
    parser.add_argument(
        "--images",
        type=session.at_least_one,
        help=f"training images of a benchmark, at most (as the baseline had, else {pair.IMAGES})",
    )
    parser.add_argument("--continue", action="store_true", dest="go_on", help="take over what the latest session measured")
    parser.add_argument("--keep", action="store_true", help="add results that cannot be compared to the history too")
    parser.add_argument("--update", action="store_true", help="make these results the baseline")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="folder of the recipes (recipes)")
    parser.add_argument("--baselines", type=Path, default=BASELINES, help="folder of the histories")
    return parser


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
