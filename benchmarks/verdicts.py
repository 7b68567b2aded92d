"""What a session says: before it runs, which results cannot be compared; afterwards, what became slower."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.session import Benchmark, Here
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Record, Verdict


def listing(chosen: Sequence[Benchmark], here: Here, folder: Path) -> Table:
    """Return the benchmarks, and for each what the baseline has and why a result cannot be compared with it."""
    latest = {key: records[-1] for key, records in benchmarks.latest(benchmarks.history(folder)).items()}
    shown = _table("benchmark", f"{len(chosen)} benchmarks; {folder.name}: torch {here.torch}, {_threads(here)}")
    for name in ("images at most", "baseline", "latest", "on"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("not compared")
    for each in chosen:
        last = latest.get(each.key)
        shown.add_row(
            each.name,
            str(each.asked),
            f"{each.before.ratio:.2f}" if each.before else "",
            f"{last.ratio:.2f}" if last else "",
            last.date[:10] if last else "",
            each.unlike(here),
        )
    return shown


def foretold(chosen: Sequence[Benchmark], here: Here, *, kept: bool) -> list[str]:
    """Return, line by line, which results of a session cannot be compared with the baseline, and why.

    Args:
        chosen: What the session measures.
        here: The session.
        kept: Whether they are added to the history all the same.
    """
    reasons: dict[str, list[str]] = {}
    for each in chosen:
        if unlike := each.unlike(here):
            reasons.setdefault(unlike, []).append(each.name)
    if not reasons:
        return []
    count = sum(map(len, reasons.values()))
    what = (
        "are kept all the same" if kept else "are not added to the history (--keep adds them, --update makes them the baseline)"
    )
    said = [f"{count} of {len(chosen)} benchmarks cannot be compared with the baseline; their results {what}:"]
    return said + [f"  {reason}: {', '.join(names)}" for reason, names in reasons.items()]


def judge(folder: Path, records: Sequence[Record], against: Sequence[Record], *, update: bool, whole: bool) -> bool:
    """Print a session beside the baseline.

    Args:
        folder: Of that kind of machine.
        records: The session's.
        against: The baseline.
        update: Make the session the baseline, whatever it shows.
        whole: Whether every benchmark was run.

    Returns:
        Whether something is slower than the baseline allows, and is not the baseline now.
    """
    ran = {record.key for record in records}
    found = benchmarks.compare(records, [each for each in against if whole or each.key in ran])
    show(table(found))
    if update:
        benchmarks.rebase(folder, [*records, *(each for each in against if not whole and each.key not in ran)])
        print(f"{folder / benchmarks.BASELINE}: holds these figures now.")
        return False
    if not against:
        print(f"{folder}: there is no baseline of this kind of machine; --update makes these figures one.")
    for verdict in found:
        if verdict.slower or verdict.unlike:
            print(f"{'-'.join(verdict.key)}: {verdict.words}.")
    if any(verdict.unlike for verdict in found):
        print("--update makes the present session the baseline.")
    return any(verdict.slower for verdict in found)


def table(found: Iterable[Verdict]) -> Table:
    """Return what the session says, a line a benchmark."""
    shown = _table("benchmark", "tlkit against a plain loop, times faster")
    for name in ("images/s", "ratio", "spread", "baseline", "change", "allowed"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict")
    for each in found:
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


def show(shown: Table) -> None:
    """Print a table."""
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


def _table(first: str, title: str) -> Table:
    return Table(first, box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left")


def _threads(here: Here) -> str:
    return f"{here.threads} thread{'' if here.threads == 1 else 's'}"
