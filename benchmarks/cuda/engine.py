"""How near training on a GPU comes to the bare replay of its captured step, for each of four augmentations.

Trains ResNet-18 with random weights in bfloat16 on synthetic pictures that stay on the GPU. A row is one augmentation: images a second
of the last epoch, without its evaluation; the time of a step, and how many times that of the bare replay it is; the part of that time
in which the GPU is idle, by torch's profiler over one more epoch, and where: within replays, between them, around them. The bare replay is
looked at in the same way: its own gaps are nobody's fault but the graph's. The profiler makes gaps longer, so a last column has the bare
replay's idle part by the clock: 1 less the seconds in which a kernel ran over the seconds without the profiler. The JSON file has what
takes the time, too: see `timeline`. Beside them stands the rate of a matrix product in bfloat16.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import tlkit_synthetic.read
from benchmarks.cuda import idleness
from benchmarks.cuda.idleness import Idleness
from tlkit.compiler import timing
from tlkit.engine.fit import Fit
from tlkit.engine.images.library import Library
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.graph import Captured, Graph
from tlkit.events import Observer
from tlkit.plans import dataset_images, jobs, resolve
from tlkit.plugin import DataFiles, Images, Split
from tlkit.run import preparation, torch_settings
from tlkit.sources.places import Places
from tlkit_synthetic import SyntheticOptions

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
_MADE = 256  # pictures of a split that are made; the others are these, moved by some pixels: 8,192 take 20 s of the GPU's time
_made = tlkit_synthetic.read.synthetic

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
    """What one augmentation reaches, or another kind of training.

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
        times: Seconds of the last epoch: "steps", "input", "evaluation" and so on.
        evaluated: Images of its evaluation.
        places: Where the host was while the row was measured, in seconds.
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
    times: Mapping[str, float] = field(default_factory=dict)
    evaluated: int = 0
    places: list[str] = field(default_factory=list)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each augmentation, and whether it reaches what is asked for."""
    first, *others = lines("augment", rows)
    return "\n".join([first, *(f"{line}  {_missed(row)}" for line, row in zip(others, rows, strict=True))])


def lines(what: str, rows: Sequence[Row]) -> list[str]:
    """Return the names of columns, and a line for each row."""
    parts = ("within", "between", "around")
    idle = "".join(f" {name:>8}" for name in ("idle", *parts, "replay's", "by clock"))
    found_lines = [f"{what:20} {'images/s':>10} {'ms a step':>10} {'over the replay':>16}{idle}"]
    for row in rows:
        over = "not captured" if row.over_replay is None else f"{row.over_replay:.2f}"
        found = [None] * 4 if row.idle is None else [row.idle.whole, *(getattr(row.idle, name) for name in parts)]
        found += [None if row.replay_idle is None else row.replay_idle.whole, row.replay_idle_by_clock]
        idle = "".join(f" {'' if each is None else f'{each:.1%}':>8}" for each in found)
        found_lines.append(f"{row.augment:20} {row.images_per_second:10,.0f} {1000 * row.step:10.2f} {over:>16}{idle}")
    return found_lines


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
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "cuda.toml"
        values = {"backbone": backbone, "precision": precision, "side": side, "held": side, "batch": batch, "images": images}
        recipe.write_text(RECIPE.format(augment=json.dumps(augment), epochs=epochs + 2, **values), encoding="utf-8")
        return trained(name, recipe, device=device, epochs=epochs)


def trained(
    name: str, recipe: Path, *, device: torch.device, epochs: int, begun: Callable[[Fit], None] = lambda fit: None
) -> Row:
    """Train the one run of a recipe as `measure` does.

    Args:
        name: Of the row.
        recipe: Its file; its epochs are more than those that are trained.
        device: To train on.
        epochs: That are trained, before the one that is looked at.
        begun: Called after the first epoch.
    """
    notes: list[str] = []
    with (
        torch_settings.applied(device),
        mock.patch.object(tlkit_synthetic.read, "synthetic", _synthetic),
        mock.patch.object(timing, "GPU_WORTHWHILE", 0.0),  # what is trained here stands for longer runs
    ):
        fit = _prepared(recipe, device, notes)
        running = fit.epochs()
        for number in range(epochs):
            last = next(running)
            if not number:
                begun(fit)
        step = fit.plan.batch_size / last.images_per_second
        graph = _graph(fit)
        replay = None if graph is None else _replay(graph, device)
        bare = None if graph is None else idleness.seen(lambda: _replay(graph, device), device)
        idle = idleness.seen(lambda: next(running), device, kernels=None if bare is None else bare.kernels)
        running.close()
    over = None if replay is None else step / replay
    by_clock = None if replay is None or bare is None or not bare.replays else 1 - bare.busy / bare.replays / replay
    evaluated = sum(len(found.targets) for found in fit.predictions.values())
    notes += [
        f"{each.what}: {each.value}: {each.reason}" for each in fit.plan.choices if each.what in ("training step", "evaluation")
    ]
    return Row(name, last.images_per_second, step, replay, over, idle, bare, by_clock, notes, last.times, evaluated)


def _synthetic(found: DataFiles, options: SyntheticOptions | None = None) -> Images:
    """Return random pictures, of which some are made, and the others are these, moved."""
    options = options or SyntheticOptions()
    least = {"train": min(options.train, max(_MADE, options.classes)), "test": min(options.test, _MADE)}
    some = _made(found, options.model_copy(update=least))
    counts = {"train": options.train, "test": options.test}
    return replace(some, splits={name: _more(split, counts[name]) for name, split in some.splits.items()})


def _more(split: Split, count: int) -> Split:
    assert split.pixels is not None
    turns, made = -(-count // len(split.pixels)), split.pixels
    pixels = np.concatenate([np.roll(made, turn, axis=2) for turn in range(turns)])[:count]
    return Split(np.tile(split.targets, turns)[:count], pixels=pixels)


def _prepared(recipe: Path, device: torch.device, notes: list[str]) -> Fit:
    places = Places(recipe=recipe.parent, offline=True)
    read, arms = resolve.load(recipe, [], places)
    (job,) = jobs.plan_jobs(read, arms, places, runs=recipe.parent, where=str(recipe))
    images = dataset_images.images(job.resolved, job.found["data"])
    observer = Observer()
    observer.note = notes.append
    runtime = Runtime(device, observer)
    fit = preparation.prepare(job, runtime, library=Library(images)).learner(runtime)
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
