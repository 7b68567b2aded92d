"""What the report adds to `tlkit apply`: the whole command with it and without, in turns.

    python -m benchmarks.report_cost [--pairs 5] [--recipe recipes/quickstart.toml] [--set KEY=VALUE] [--json FILE]

Each trial is a process of its own, with nothing stored but what was measured of the machine in a pair before the others that is not
counted. The side without the report makes no report.npz, evaluates no training images after an epoch, inspects no images and writes no
page. Every network is trained to the same bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from benchmarks import versus
from tlkit import cli, machine

_WITHOUT = "--without-report"  # makes this module a process of that side
# What makes the report, as the modules that call it know it.
_MAKERS = (
    "tlkit.run.report_data.write",
    "tlkit.run.training_sample.choose",
    "tlkit.run.data_inspection.keep",
    "tlkit.reports.page.page.write",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both times and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="trials of each side (5)")
    parser.add_argument("--recipe", default="recipes/quickstart.toml", help="(recipes/quickstart.toml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="to try it with less")
    parser.add_argument("--json", type=Path, help="where the seconds go")
    options = parser.parse_args(arguments)
    sides = {"before": ("-m", "benchmarks.report_cost", _WITHOUT), "after": ("-m", "tlkit")}
    with tempfile.TemporaryDirectory() as scratch:
        done: list[dict[str, versus.Seconds]] = []
        for number in range(options.pairs + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            found = {
                side: versus.trial(
                    versus.ROOT, options.recipe, options.set, kept=Path(scratch) / f"{side}-measured", program=sides[side]
                )
                for side in order
            }
            print(f"pair {number} of {options.pairs}: {found}", file=sys.stderr, flush=True)
            done += [found] if number else []
    if options.json:
        options.json.write_text(json.dumps({"recipe": options.recipe, "pairs": done}, indent=2) + "\n", encoding="utf-8")
    print(said(done))


def said(pairs: Sequence[dict[str, versus.Seconds]]) -> str:
    """Return what the report adds, in words: of "before", without it, and "after", with it."""
    without, with_ = ([pair[side][versus.WHOLE] for pair in pairs] for side in ("before", "after"))
    added = sorted(100 * (after / before - 1) for before, after in zip(without, with_, strict=True))
    return (
        f"without the report {statistics.median(without):.1f} s, with it {statistics.median(with_):.1f} s: it adds "
        f"{statistics.median(added):.1f} % ({added[0]:.1f} to {added[-1]:.1f}, n = {len(pairs)} pairs)"
    )


@contextmanager
def without_report() -> Iterator[None]:
    """Make no report as long as the context lasts."""
    with ExitStack() as stack:
        for name in _MAKERS:
            stack.enter_context(mock.patch(name, return_value=None))
        yield


def apply_without_report(arguments: Sequence[str]) -> None:
    """Run the command line without what makes the report."""
    machine.let_threads_sleep()  # as the command line does before torch is loaded, which the patches load
    machine.let_cublas_repeat()
    with without_report(), mock.patch.object(sys, "argv", ["tlkit", *arguments]):
        cli.main()


if __name__ == "__main__":
    if sys.argv[1:2] == [_WITHOUT]:
        apply_without_report(sys.argv[2:])
    else:
        main()
