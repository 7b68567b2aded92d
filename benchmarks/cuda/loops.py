"""ResNet-18 trained on files of pictures by others and by tlkit, each at its own best documented settings, in processes of their own.

The rule: what everyone is given is `benchmarks.peers.contract`'s. The tutorial's loop runs twice, as it stands and with what PyTorch's
tuning guide recommends. The pictures are made here, so their accuracy says nothing; epochs are timed, the last one counts. What comes before
them is told apart: imports, the first batch (workers start), the first step (kernels are chosen by measurement). One that does not end within
its limit counts with the last epoch that it ended, and else it is said how far it came.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers import trial
from benchmarks.peers.contract import Spec
from benchmarks.peers.trial import Cell, UnfinishedError
from tlkit.plugin import IMAGENET, Split
from tlkit_synthetic import SyntheticOptions
from tlkit_synthetic.read import synthetic

# Name in the table -> the contender's, and whether it is tuned for a GPU; the most wanted first.
CONTENDERS: dict[str, tuple[str, bool]] = {
    "tlkit": ("tlkit", True),
    "tutorial, tuned": ("tutorial", True),
    "lightning": ("lightning", True),
    "timm": ("timm", True),
    "tutorial": ("tutorial", False),
}
_CLASSES = 10
_MADE = 250  # pictures that are made; the others are these, moved by some pixels, so that no two files have the same content
_SHORT = 256  # pixels of a picture's side


@dataclass(frozen=True)
class Loop:
    """What one contender reached.

    Attributes:
        name: In the table.
        images_per_second: Training pictures over the seconds of the last epoch, with its evaluation.
        epochs: Seconds of each; the first one has the first batch and the first step.
        imported: Seconds from the start of the process until its clock began.
        first_batch: Seconds after that until the first batch was there; None where it does not tell, as tlkit.
        first_step: Seconds after that until the first step was taken; likewise.
        whole: Seconds of the whole process, or its limit.
        unfinished: Why there are no more epochs; "" where there are all.
        accuracy: After each epoch; empty where it did not end.
        versions: Of what ran; likewise.
    """

    name: str
    images_per_second: float
    epochs: list[float]
    imported: float
    first_batch: float | None
    first_step: float | None
    whole: float
    unfinished: str
    accuracy: list[float]
    versions: Mapping[str, str]


def prepare(folder: Path, *, train: int, val: int, side: int, batch: int, short: int = _SHORT) -> Spec:
    """Write pictures and first weights, and return the work but for its epochs and folders.

    Args:
        folder: For the files.
        train: Training pictures; whole batches, since timm's loader leaves out a smaller one.
        val: Pictures that are evaluated on.
        side: Of the network's input, pixels.
        batch: Pictures of a step.
        short: Side of a picture, pixels.
    """
    import torch
    from torchvision.models import resnet18

    options = SyntheticOptions(classes=_CLASSES, train=min(train, _MADE), test=min(val, _MADE), size=short)
    made = synthetic(None, options).splits
    for part, split, count in (("train", made["train"], train), ("val", made["test"], val)):
        for label in range(_CLASSES):
            (folder / part / f"class{label}").mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda number, part=part, split=split: _write(folder / part, split, number), range(count)))
    state = folder / "first.pt"
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=_CLASSES).state_dict(), state)
    return Spec(
        network="resnet18", arm="all", images=str(folder), state=str(state), classes=_CLASSES, mean=list(IMAGENET.mean),
        std=list(IMAGENET.std), resize="bilinear", scratch="", cache="", epochs=0, short=short, side=side, batch_size=batch,
        workers=min(os.cpu_count() or 1, 16),
    )  # fmt: skip


def _write(folder: Path, split: Split, number: int) -> None:
    assert split.pixels is not None
    turn, which = divmod(number, len(split.targets))
    pixels = np.roll(split.pixels[which], turn, axis=1)
    Image.fromarray(pixels).save(folder / f"class{int(split.targets[which])}" / f"{number:06d}.jpg", quality=90)


def measure(name: str, work: Spec, *, epochs: int, venvs: Path, train: int, limit: float | None = None) -> Loop:
    """Let a contender do the work once.

    Args:
        name: A key of CONTENDERS.
        work: As `prepare` returns it.
        epochs: With an evaluation after each.
        venvs: For the environment of one that is not installed here; it is downloaded.
        train: Training pictures.
        limit: Seconds that it may take; None for no limit.

    Raises:
        LookupError: it is not here and cannot be downloaded.
        UnfinishedError: it did not end an epoch within the limit.
    """
    contender, tuned = CONTENDERS[name]
    began = time.perf_counter()
    python = _interpreter(contender, venvs, limit)
    given, left = replace(work, tuned=tuned), None if limit is None else limit - (time.perf_counter() - began)
    whole, unfinished = left, ""
    try:
        answer = trial.run(
            Cell("cuda", "all"), contender, given, python=python, epochs=epochs, measured=venvs / trial.MEASURED, limit=left
        )
        stages, whole = answer["stages"], answer["whole"]
    except UnfinishedError as error:
        answer, stages, unfinished = error.answer or {}, error.stages, str(error)
        ends = [stages["imported"], *(at for stage, at in stages.items() if stage.startswith("epoch "))] if stages else []
        if not answer and not ends[1:]:
            raise
        answer = {"accuracy": [], "versions": {}, "epoch_seconds": [b - a for a, b in itertools.pairwise(ends)]} | answer
    seconds = answer["epoch_seconds"]
    assert whole is not None
    return Loop(
        name, train / seconds[-1], seconds, stages["imported"], _between(stages, "imported", "first batch"),
        _between(stages, "first batch", "first step"), whole, unfinished, answer["accuracy"], answer["versions"],
    )  # fmt: skip


def _between(stages: Mapping[str, float], before: str, after: str) -> float | None:
    return stages[after] - stages[before] if after in stages else None


def _interpreter(contender: str, venvs: Path, limit: float | None) -> str:
    if find_spec(contender) is not None:
        return sys.executable
    try:
        return trial.interpreter(contender, venvs, limit=limit)
    except (subprocess.SubprocessError, OSError) as error:
        raise LookupError(f"{contender} is not installed here and could not be: {error}") from error


def table(loops: list[Loop]) -> str:
    """Return a line for each contender: images a second, and how many times as many tlkit has."""
    ours = next((loop.images_per_second for loop in loops if loop.name == "tlkit"), None)
    names = ("imports s", "first batch s", "first step s", "first epoch s", "whole s")
    lines = [f"{'by':20} {'images/s':>10} {'tlkit':>12}{''.join(f' {name:>13}' for name in names)}"]
    for loop in loops:
        times = "" if ours is None or loop.name == "tlkit" else f"{ours / loop.images_per_second:.1f} times"
        found = (loop.imported, loop.first_batch, loop.first_step, loop.epochs[0], loop.whole)
        seconds = "".join(f" {'' if each is None else f'{each:.1f}':>13}" for each in found)
        said = f"  of epoch {len(loop.epochs)}: {loop.unfinished}" if loop.unfinished else ""
        lines.append(f"{loop.name:20} {loop.images_per_second:10,.0f} {times:>12}{seconds}{said}")
    return "\n".join(lines)
