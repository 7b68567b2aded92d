"""A session of benchmarks: which are measured, what each is compared with, and where its result is kept.

The rule: a result is written as soon as it is there, so a session that was stopped can go on. `session.jsonl` holds every result of
the latest session. The history, which is tracked, gets those that can be compared with the baseline.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks import cases, pair
from benchmarks.cases import Case, Job
from tlkit.record import benchmarks
from tlkit.record.benchmarks import Conditions, Key, Record

SESSION = "session.jsonl"
NO_BASELINE = "no baseline on this kind of machine"


def at_least_one(text: str) -> int:
    """Read a number of rounds or images from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of 1 or more')
    return int(text)


@dataclass(frozen=True)
class Here:
    """What results depend on besides the benchmark.

    Attributes:
        torch: Version of torch.
        threads: That it computes with.
        commit: Of the checkout.
        date: Of the session, ISO 8601, UTC.
        rounds: Of each benchmark.
    """

    torch: str
    threads: int
    commit: str
    date: str
    rounds: int

    def measured(self, record: Record) -> bool:
        """Whether a record's benchmark was measured in the same way."""
        mine = (self.torch, self.threads, self.commit, self.rounds)
        return mine == (record.versions.get("torch", ""), record.threads, record.commit, record.rounds)


@dataclass(frozen=True)
class Benchmark:
    """One arm of one recipe in one mode.

    Attributes:
        case: The arm.
        mode: "eager" or "captured".
        asked: Training images at most.
        before: The baseline's record of it; None without one.
    """

    case: Case
    mode: str
    asked: int
    before: Record | None

    @property
    def key(self) -> Key:
        """Identify the benchmark, as `Record.key` does."""
        return (self.case.recipe.stem, self.case.arm, self.mode)

    @property
    def name(self) -> str:
        """As `--only` matches it."""
        return "-".join(self.key)

    def unlike(self, here: Here, job: Job | None = None) -> str:
        """Return why its result cannot be compared with the baseline; "" if it can.

        Args:
            here: The session.
            job: The benchmark's work; without it, the number of images is taken to be the baseline's if as many were asked for.
        """
        if self.before is None:
            return NO_BASELINE
        if job is None and self.before.asked not in (0, self.asked):
            return f"{self.asked} images at most, the baseline {self.before.asked}"
        images = self.before.images if job is None else job.train
        return Conditions(images, here.torch, here.threads).unlike(self.before.conditions)


def choose(
    recipes: Path, modes: Sequence[str], against: Sequence[Record], *, only: Sequence[str], images: int | None
) -> list[Benchmark]:
    """Return the benchmarks of a folder of recipes.

    Args:
        recipes: The folder.
        modes: Of each arm.
        against: The baseline.
        only: Parts of names, or patterns of whole names with * and ?; empty: every benchmark.
        images: Training images at most; None: as the baseline had, else pair.IMAGES.
    """
    before = {each.key: each for each in against}
    found = []
    for case in cases.cases(recipes):
        for mode in modes:
            known = before.get((case.recipe.stem, case.arm, mode))
            asked = images or (known.asked if known else 0) or pair.IMAGES
            found.append(Benchmark(case, mode, asked, known))
    return [each for each in found if not only or any(part in each.name or fnmatch(each.name, part) for part in only)]


def measure(
    benchmark: Benchmark, here: Here, rates: Mapping[str, float], *, told: Callable[[Job], None], report: Callable[[], None]
) -> Record:
    """Measure a benchmark.

    Args:
        benchmark: Which.
        here: The session.
        rates: Operations a second of this machine's matrix product, by precision.
        told: Called with the work before anything is timed.
        report: Called after each part of it, as `pair.measure` does.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        job = cases.make(benchmark.case, folder, images=benchmark.asked, flops=pair.FLOPS)
        told(job)
        captured = benchmark.mode == "captured"
        plain, ours = pair.measure(job.write(folder / "job.json"), rounds=here.rounds, captured=captured, report=report)
    names = dict(zip(("recipe", "arm", "mode"), benchmark.key, strict=True))
    return Record(date=here.date, commit=here.commit, **names, **pair.figures(job, plain, ours, dict(rates)))


def begun(folder: Path, here: Here, chosen: Sequence[Benchmark]) -> list[Record]:
    """Return the results of the latest session that this one need not measure again."""
    asked = {each.key: each.asked for each in chosen}
    return [each for each in benchmarks.read(folder / SESSION) if here.measured(each) and asked.get(each.key) == each.asked]


def begin(folder: Path, records: Sequence[Record]) -> None:
    """Begin a session with the results that it takes over."""
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks.write(folder / SESSION, records)


def keep(folder: Path, record: Record, *, history: bool) -> None:
    """Write a result as soon as it is there.

    Args:
        folder: Of this kind of machine.
        record: The result.
        history: Whether it goes into the tracked history too.
    """
    for name in (SESSION, *((benchmarks.HISTORY,) if history else ())):
        benchmarks.write(folder / name, [*benchmarks.read(folder / name), record])
