"""One benchmark: a plain PyTorch loop and tlkit do the same work in turns, in processes of their own; and the figures of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Job
from benchmarks.side import Side
from tlkit.record import benchmarks

EPOCHS = 2  # of tlkit's side of a round: one that fills the stores, one that reads them
IMAGES = 128  # training images at most, unless the baseline or the person who measures says otherwise
FLOPS = 3e12  # operations of a plain loop's epoch, about: large networks get fewer images
Rounds = Sequence[dict[str, Any]]


def steps(rounds: int) -> int:
    """Return how often `measure` reports: once for the start of each side, twice a round."""
    return 2 + 2 * rounds


def measure(job: Path, *, rounds: int, captured: bool, report: Callable[[], None]) -> tuple[Rounds, Rounds]:
    """Run both sides in turns.

    Args:
        job: A file that `Job.write` wrote.
        rounds: Of one epoch of the plain loop and then EPOCHS epochs of tlkit.
        captured: Whether tlkit's steps may run as a graph.
        report: Called after each part, `steps` times.

    Returns:
        What the plain loop and tlkit say of each round.
    """
    with Side("plain", job, epochs=1) as plain:
        report()
        with Side("tlkit", job, epochs=EPOCHS, captured=captured) as ours:
            report()
            for _ in range(rounds):
                for side in (plain, ours):
                    side.round()
                    report()
            return plain.rounds, ours.rounds


def figures(job: Job, plain: Rounds, ours: Rounds, rates: dict[str, float]) -> dict[str, Any]:
    """Return what the history keeps of a benchmark, from the rounds of both sides in the same order."""
    pairs = list(zip(plain, ours, strict=True))
    ratio, spread = benchmarks.centre(
        [benchmarks.run_ratio(plain=p["seconds"], first=o["first"], later=o["later"], epochs=job.epochs) for p, o in pairs]
    )
    epoch = statistics.median((o["first"] + (job.epochs - 1) * o["later"]) / job.epochs for o in ours)
    return {
        "images": job.train,
        "asked": job.asked,
        "rounds": len(pairs),
        "images_per_second": job.train / epoch,
        "ratio": ratio,
        "spread": spread,
        "first_ratio": statistics.median(p["seconds"] / o["first"] for p, o in pairs),
        "later_ratio": statistics.median(p["seconds"] / o["later"] for p, o in pairs),
        "epoch_seconds": epoch * job.scale,
        "peak_anonymous": max(o["peak_anonymous"] for o in ours),
        "share": {name: job.flops / epoch / rate for name, rate in rates.items()},
        "precision": ours[-1]["form"].get("precision", ""),
        "layout": ours[-1]["form"].get("layout", ""),
        "versions": ours[-1]["versions"],
        "threads": ours[-1]["threads"],
        "plain": {
            "images_per_second": job.train / statistics.median(p["seconds"] for p in plain),
            "peak_anonymous": max(p["peak_anonymous"] for p in plain),
        },
    }
