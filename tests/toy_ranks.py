"""Train the toy network by several processes that are forked after torch is imported, and write what each saw.

python toy_ranks.py RECIPE FOLDER: for 1, 2 and 3 processes, FOLDER/<processes>.json has what every case came to, by case and process.
"""

import json
import os
import sys
import traceback
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import sklearn.model_selection
import sklearn.neighbors  # noqa: F401  # these and torchmetrics are imported once, and not in every process
import torch
import torch.distributed as dist
import torchmetrics.functional.classification  # noqa: F401  # likewise
from safetensors.torch import save_file
from toy_step import Recorder, table
from toy_training import Training, training

from tlkit.compiler import shared_networks
from tlkit.engine.fit import Fit
from tlkit.engine.learning import Learning
from tlkit.engine.ranks.ranks import ALONE, Group, Ranks
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.graph import Captured
from tlkit.errors import OutOfTime
from tlkit.events import Observer
from tlkit.plans import sharing

# 90 training images in batches of 16 are 5 whole batches and one of 10; 4 epochs are 24 steps.
LONG = ("data.options.train=100", "data.split.validation=0.1", "schedule.epochs=4", "lr_groups={backbone=1e-2, head=1e-2}")
NO_NORM = 'backbone.batch_norm="running"'
EVERYTHING = (
    "freeze={stem=true, block1={epochs=2}}", 'data.augment=["hflip", {name="mixup"}]', "head.options={dropout=0.3}",
    "loss.label_smoothing=0.1",
)  # fmt: skip
# The target has the colours of the source, other noise, and 8 images of each of 4 classes in its training part.
TARGET = 'also.dark={name="synthetic", options={classes=4, train=60, test=20, size=16, noise=0.9}, split={per_class=8}}'


def adapted(table: str) -> tuple[str, ...]:
    return (TARGET, f'adapt={{target="dark", {table}}}')


CASES = {
    "sgd": (*LONG, NO_NORM, table("sgd")),
    "adamw": (*LONG, NO_NORM, table("adamw")),
    "everything": (*LONG, NO_NORM, *EVERYTHING, table("sgd", "clip_norm=0.5", "accumulate=2", "ema=0.9")),
    "sync": (*LONG, 'backbone.batch_norm="sync"', *EVERYTHING, table("sgd")),
    "fewer images than processes": (*LONG, NO_NORM, "data.batch_size=2", "data.options.train=40", "schedule.epochs=1", table("sgd")),
    "stored": (*LONG, "schedule.epochs=1", "freeze={backbone=true}", table("sgd")),
    "local": (*LONG, "schedule.epochs=1", 'backbone.batch_norm="local"', table("sgd")),
    "mcc and labels": (
        *LONG, 'backbone.batch_norm="sync"', "freeze={stem=true}", 'data.augment=["hflip"]', "head.options={dropout=0.3}",
        *adapted('method="mcc", labels_per_class=1, images="all", ramp=false'), table("sgd", "accumulate=2", "clip_norm=0.5"),
    ),
    "cdan": (
        *LONG, 'backbone.batch_norm="sync"', "schedule.epochs=2", 'data.augment=["hflip"]', *EVERYTHING[2:],
        *adapted('method="cdan", ramp=false, options={width=8}'), table("sgd"),
    ),
    "mme of fewer images": (
        *LONG, NO_NORM, "data.batch_size=2", "data.options.train=40", "schedule.epochs=1",
        *adapted('method="mme", labels_per_class=1, ramp=false'), table("sgd"),
    ),
    "auxiliary": (*LONG, "schedule.epochs=2", 'backbone.batch_norm="sync"', 'backbone.name="toy_tapped"', table("sgd")),
}  # fmt: skip
DOUBLED = ("sgd", "everything", "sync", "mcc and labels", "cdan", "mme of fewer images")
STOPPED = "stopped"
CAPTURED = {"captured": False, "refused": True}  # whether capture fails
SOLVED = ("head.kind=knn", "head.options={neighbors=3}", "freeze={backbone=true}")


class Losses(Observer):
    """Keeps the loss of every step, from the means of an epoch so far."""

    def __init__(self, images: int, batch: int) -> None:
        self.seen: list[float] = []
        self._images, self._batch, self._before = images, batch, (0, 0.0)

        self.stored = 0  # images whose outputs of the fixed prefix were computed here

    def storing(self, done: int, total: int) -> None:
        self.stored += total if done == total else 0

    def epoch_begins(self, epoch: int) -> None:
        self._before = 0, 0.0

    def loss(self, epoch: int, step: int, loss: float) -> None:
        count, total = self._before
        self._before = min(step * self._batch, self._images), loss * min(step * self._batch, self._images)
        self.seen.append((self._before[1] - total) / (self._before[0] - count))


def doubled() -> ExitStack:
    """Compute in float64 what is computed in float32: whatever asks for float32 gets the other."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(torch.Tensor, "float", torch.Tensor.double))
    return stack


def trained(mine: Training, ranks: Ranks, *, double: bool) -> dict[str, object]:
    plan = sharing.shared(mine.plan, ranks.size)
    observer = Losses(plan.images.train, plan.batch_size * plan.tables.optimizer.accumulate)
    network = mine.prepared.start.get().double() if double else mine.prepared.start.get()
    prepared = mine.prepared
    with doubled() if double else ExitStack():
        given = Learning(
            plan=plan, network=network, plugins=prepared.job.resolved.network_plugins, train=prepared.train,
            evaluated=prepared.evaluated, runtime=Runtime(torch.device("cpu"), observer, ranks=ranks),
            adaptation=prepared.job.resolved.adaptation,
        )  # fmt: skip
        fit = Fit(given)
        epochs = [(dict(each.train), each.validation, each.test, each.best) for each in fit.epochs()]
    state = {name: tensor.double().flatten().tolist() for name, tensor in sorted(fit.tensors().items())}
    return {
        "losses": observer.seen,
        "stored": observer.stored,
        "epochs": epochs,
        "state": state,
        "choices": [c.value for c in plan.choices],
    }


def captured(mine: Training, ranks: Ranks, *, failing: bool) -> dict[str, object]:
    """Train with a stand-in for a GPU's graphs, whose capture fails on process 1 if `failing`."""
    plan, prepared = sharing.shared(mine.plan, ranks.size), mine.prepared
    observer = Losses(plan.images.train, plan.batch_size)
    given = Learning(
        plan=plan, network=prepared.start.get(), plugins=prepared.job.resolved.network_plugins, train=prepared.train,
        evaluated=prepared.evaluated, runtime=Runtime(torch.device("cpu"), observer, ranks=ranks),
    )  # fmt: skip
    fit = Fit(given)
    backend = Recorder({0: RuntimeError("no room")} if failing and ranks.rank == 1 else {})
    fit._steps._take = Captured(fit._step, backend, note=lambda _: None)
    list(fit.epochs())
    return {"calls": backend.calls, "losses": observer.seen, "warnings": fit.warnings}


def stopped(mine: Training, ranks: Ranks) -> list[object]:
    """Train until the time of process 0 is over, after 8 steps, and return where this one stopped and by what."""
    clock, plan, prepared = iter(range(100)), sharing.shared(mine.plan, ranks.size), mine.prepared

    def deadline() -> None:
        if next(clock) == 8:
            raise OutOfTime("there was no time for more.")

    if isinstance(ranks, Group) and ranks.rank == 0:
        ranks = replace(ranks, deadline=deadline)
    given = Learning(
        plan=plan, network=prepared.start.get(), plugins=prepared.job.resolved.network_plugins, train=prepared.train,
        evaluated=prepared.evaluated, runtime=Runtime(torch.device("cpu"), ranks=ranks),
    )  # fmt: skip
    fit = Fit(given)
    try:
        list(fit.epochs())
    except OutOfTime as error:
        return [fit.progress.epochs, fit.progress.steps, error.problem]
    return [fit.progress.epochs, fit.progress.steps, ""]


def solved(recipe: Path, ranks: Ranks) -> list[object]:
    mine = training(recipe, *SOLVED, keep=False)
    prepared = mine.prepared
    fit = prepared.learner(Runtime(torch.device("cpu"), ranks=ranks))
    return [(dict(each.train), each.validation, each.test) for each in fit.epochs()]


def started(recipe: Path, ranks: Ranks) -> list[float]:
    """Return the weights that a head begins with, where it begins solved."""
    file = recipe.parent / f"start{ranks.size}.safetensors"
    if ranks.rank == 0:
        tensors = training(recipe, keep=False).network.tensors()
        save_file({name: each.clone() for name, each in tensors.items() if not name.startswith("head")}, file)
    ranks.wait()
    prepared = training(recipe, f'backbone.weights="{file}"', "head.start=solved", keep=False).prepared
    network = prepared.start.take()
    prepared.head_start.solve_(network, Runtime(torch.device("cpu"), ranks=ranks))
    return network.head.get_parameter("weight").flatten().tolist()


def prepared_cases(recipe: Path) -> dict[str, Training]:
    """Prepare what every process trains, once, before they are forked; a case that is computed in float64 too is prepared twice."""
    made: dict[str, Training] = {}
    for name, settings in CASES.items():
        for case in (name, f"{name}, float64") if name in DOUBLED else (name,):
            made[case] = training(recipe, *settings, keep=False)
    for name in (STOPPED, *CAPTURED):
        made[name] = training(recipe, *LONG, NO_NORM, "schedule.epochs=2", table("sgd"), keep=False)
    return made


def every_case(recipe: Path, ranks: Ranks, prepared: dict[str, Training]) -> dict[str, object]:
    found: dict[str, object] = {
        name: trained(mine, ranks, double=name.endswith("float64"))
        for name, mine in prepared.items()
        if name not in (STOPPED, *CAPTURED)
    }
    found["solved"] = solved(recipe, ranks)
    found["started"] = started(recipe, ranks)
    found[STOPPED] = stopped(prepared[STOPPED], ranks)
    for name, failing in CAPTURED.items():
        found[name] = captured(prepared[name], ranks, failing=failing)
    return found


def process(recipe: Path, folder: Path, rank: int, size: int, port: int, prepared: dict[str, Training]) -> None:
    ranks = ALONE
    if size > 1:
        dist.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size, timeout=timedelta(minutes=5)
        )
        ranks = Group(rank, size, rank, size)
    os.environ["TLKIT_CACHE"] = str(folder / f"cache{size}")
    (folder / f"{size}-{rank}.json").write_text(json.dumps(every_case(recipe, ranks, prepared)))


def main(recipe: Path, folder: Path) -> int:
    torch.set_num_threads(1)
    with __import__("socket").socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with shared_networks.sharing():
        prepared = prepared_cases(recipe)
    for size in (1, 2, 3):
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                try:
                    process(recipe, folder, rank, size, port + size, prepared)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        if any(os.waitpid(child, 0)[1] for child in children):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
