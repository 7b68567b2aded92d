"""How near training on a GPU comes to the bare replay of its captured step, for each of four augmentations.

Trains ResNet-18 with random weights in bfloat16 on synthetic pictures that stay on the GPU. A row is one augmentation: images a second
of the last epoch, without its evaluation; the time of a step, and how many times that of the bare replay it is; the part of that time
in which the GPU is idle, by torch's profiler over one more epoch, and where: within replays, between them, around them. The bare replay is
looked at in the same way: its own gaps are nobody's fault but the graph's. The profiler makes gaps longer, so a last column has the bare
replay's idle part by the clock: 1 less the seconds in which a kernel ran over the seconds without the profiler.
Beside them stands the rate of a matrix product in bfloat16.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.cuda import idleness
from benchmarks.cuda.idleness import Idleness
from tlkit.engine.fit import Fit
from tlkit.engine.images.library import Library
from tlkit.engine.step.graph import Captured, Graph
from tlkit.events import Observer
from tlkit.plans import dataset_images, jobs, resolve
from tlkit.run import preparation, torch_settings
from tlkit.sources.places import Places

# First those that missed a goal when they were measured last.
AUGMENTATIONS: dict[str, list[str]] = {
    "random_resized_crop": ["random_resized_crop"],
    "randaugment": ["randaugment"],
    "none": [],
    "hflip": ["hflip"],
}
MOST_OVER_REPLAY = 1.15  # times the bare replay
MOST_IDLE = 0.10
TO_REACH = 10_000  # images a second on an H100, with random_resized_crop
_REPLAYS = 50
SIDE = 8192  # of the square matrices: 1.1 TFLOP a product
_PRODUCTS = 20

RECIPE = """\
format = 1
name = "cuda"
precision = "{precision}"
seeds = [0]
[backbone]
name = "{backbone}"
weights = "none"
[data]
name = "synthetic"
image_size = {side}
batch_size = {batch}
augment = {augment}
[data.options]
classes = 10
train = {images}
test = 16
size = {held}
[data.split]
validation = 0.0
[lr_groups]
backbone = 1e-3
head = 1e-3
[optimizer]
name = "sgd"
[schedule]
name = "constant"
epochs = {epochs}
"""


@dataclass(frozen=True)
class Row:
    """What one augmentation reaches.

    Attributes:
        augment: Its name.
        images_per_second: Of the last epoch, without evaluation.
        step: Seconds of a step, by them.
        replay: Seconds of the captured step alone; None where it was not captured.
        over_replay: `step` / `replay`.
        idle: Of an epoch, with its evaluation; None where that was not seen, as below.
        replay_idle: Of bare replays, one after the other.
        replay_idle_by_clock: The part of `replay` in which none of its kernels ran, with the seconds of kernels as the profiler saw them.
        notes: What the run said of itself.
    """

    augment: str
    images_per_second: float
    step: float
    replay: float | None
    over_replay: float | None
    idle: Idleness | None
    replay_idle: Idleness | None
    replay_idle_by_clock: float | None
    notes: list[str]


def table(rows: Sequence[Row]) -> str:
    """Return a line for each row, and whether it reaches what is asked for."""
    parts = ("within", "between", "around")
    idle = "".join(f" {name:>8}" for name in ("idle", *parts, "replay's", "by clock"))
    lines = [f"{'augment':20} {'images/s':>10} {'ms a step':>10} {'over the replay':>16}{idle}"]
    for row in rows:
        over = "not captured" if row.over_replay is None else f"{row.over_replay:.2f}"
        found = [None] * 4 if row.idle is None else [row.idle.whole, *(getattr(row.idle, name) for name in parts)]
        found += [None if row.replay_idle is None else row.replay_idle.whole, row.replay_idle_by_clock]
        idle = "".join(f" {'' if each is None else f'{each:.1%}':>8}" for each in found)
        lines.append(
            f"{row.augment:20} {row.images_per_second:10,.0f} {1000 * row.step:10.2f} {over:>16}{idle}  {_missed(row)}"
        )
    return "\n".join(lines)


def _missed(row: Row) -> str:
    """Return which goals a row misses."""
    missed = []
    if row.over_replay is None or row.over_replay > MOST_OVER_REPLAY:
        missed.append(f"over {MOST_OVER_REPLAY} times the replay")
    if row.idle is None or row.idle.whole > MOST_IDLE:
        missed.append(f"idle for more than {MOST_IDLE:.0%}")
    if row.augment == "random_resized_crop" and row.images_per_second < TO_REACH:
        missed.append(f"under {TO_REACH:,} images/s")
    return "; ".join(missed)


def measure(
    name: str, *, device: torch.device, images: int, batch: int, side: int, epochs: int, backbone: str, precision: str
) -> Row:
    """Train for some epochs with an augmentation, then time the captured step alone, then look at the GPU for an epoch and for replays."""
    augment = AUGMENTATIONS[name]
    with tempfile.TemporaryDirectory() as folder, torch_settings.applied(device):
        recipe = Path(folder) / "cuda.toml"
        values = {"backbone": backbone, "precision": precision, "side": side, "held": side, "batch": batch, "images": images}
        recipe.write_text(RECIPE.format(augment=json.dumps(augment), epochs=epochs + 2, **values), encoding="utf-8")
        notes: list[str] = []
        fit = _prepared(recipe, device, notes)
        running = fit.epochs()
        for _ in range(epochs):
            last = next(running)
        step = batch / last.images_per_second
        graph = _graph(fit)
        replay = None if graph is None else _replay(graph, device)
        idle = idleness.seen(lambda: next(running), device)
        bare = None if graph is None else idleness.seen(lambda: _replay(graph, device), device)
        running.close()
    over = None if replay is None else step / replay
    by_clock = None if replay is None or bare is None or not bare.replays else 1 - bare.busy / bare.replays / replay
    return Row(name, last.images_per_second, step, replay, over, idle, bare, by_clock, notes)


def _prepared(recipe: Path, device: torch.device, notes: list[str]) -> Fit:
    places = Places(recipe=recipe.parent, offline=True)
    read, arms = resolve.load(recipe, [], places)
    (job,) = jobs.plan_jobs(read, arms, places, runs=recipe.parent, where=str(recipe))
    images = dataset_images.images(job.resolved.dataset, job.found, job.resolved)
    observer = Observer()
    observer.note = notes.append
    prepared = preparation.prepare(job, library=Library(images), images=images, device=device, observer=observer)
    fit = prepared.learner(device=device, observer=observer)
    assert isinstance(fit, Fit)  # it trains by steps
    return fit


def _graph(fit: Fit) -> Graph | None:
    """Return the captured step; None where it is not captured."""
    taking = fit._steps._take
    return taking._graph if isinstance(taking, Captured) else None


def _replay(graph: Graph, device: torch.device) -> float:
    """Return the seconds of the captured step alone, by events on the device."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    first.record(torch.cuda.current_stream(device))
    for _ in range(_REPLAYS):
        graph.replay()
    last.record(torch.cuda.current_stream(device))
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / _REPLAYS


def matrix_rate(device: torch.device) -> float:
    """Return floating-point operations a second of a large matrix product in bfloat16, a multiply-add counted as two."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(a, b)
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(_PRODUCTS):
        torch.mm(a, b)
    torch.cuda.synchronize(device)
    return 2 * SIDE**3 * _PRODUCTS / (time.perf_counter() - began)
