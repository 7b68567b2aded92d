"""ResNet-18 trained on files of pictures by others and by tlkit, each at its own best documented settings, in processes of their own.

The rule: what everyone is given is `benchmarks.peers.contract`'s. The tutorial's loop runs twice, as it stands and with what PyTorch's
tuning guide recommends. The pictures are made here, so their accuracy says nothing; epochs are timed, the last one counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import trial
from benchmarks.peers.contract import Spec
from benchmarks.peers.trial import Cell
from tlkit.plugin import IMAGENET
from tlkit_synthetic import SyntheticOptions
from tlkit_synthetic.read import synthetic

# Name in the table -> the contender's, and whether it is tuned for a GPU.
CONTENDERS: dict[str, tuple[str, bool]] = {
    "tutorial": ("tutorial", False),
    "tutorial, tuned": ("tutorial", True),
    "timm": ("timm", True),
    "lightning": ("lightning", True),
    "tlkit": ("tlkit", True),
}
_CLASSES = 10
_SHORT = 256  # pixels of a picture's side


@dataclass(frozen=True)
class Loop:
    """What one contender reached.

    Attributes:
        name: In the table.
        images_per_second: Training pictures over the seconds of the last epoch, with its evaluation.
        first: Seconds of the first epoch, in which workers start and what is chosen by measurement is measured.
        whole: Seconds of the whole process.
        accuracy: After each epoch.
        versions: Of what ran.
    """

    name: str
    images_per_second: float
    first: float
    whole: float
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

    made = synthetic(None, SyntheticOptions(classes=_CLASSES, train=train, test=val, size=short)).splits
    for part, split in (("train", made["train"]), ("val", made["test"])):
        for label in range(_CLASSES):
            (folder / part / f"class{label}").mkdir(parents=True)
        for number, (pixels, label) in enumerate(zip(split.pixels, np.asarray(split.targets), strict=True)):
            Image.fromarray(pixels).save(folder / part / f"class{int(label)}" / f"{number:06d}.jpg", quality=90)
    state = folder / "first.pt"
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=_CLASSES).state_dict(), state)
    return Spec(
        network="resnet18", arm="all", images=str(folder), state=str(state), classes=_CLASSES, mean=list(IMAGENET.mean),
        std=list(IMAGENET.std), resize="bilinear", scratch="", cache="", epochs=0, short=short, side=side, batch_size=batch,
        workers=min(os.cpu_count() or 1, 16),
    )  # fmt: skip


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
        TimeoutError: it did not end within the limit.
    """
    contender, tuned = CONTENDERS[name]
    python = _interpreter(contender, venvs)
    given = replace(work, tuned=tuned)
    done: dict[str, Any] = trial.run(
        Cell("cuda", "all"), contender, given, python=python, epochs=epochs, measured=venvs / trial.MEASURED, limit=limit
    )
    seconds = done["epoch_seconds"]
    return Loop(name, train / seconds[-1], seconds[0], done["whole"], done["accuracy"], done["versions"])


def _interpreter(contender: str, venvs: Path) -> str:
    if find_spec(contender) is not None:
        return sys.executable
    try:
        return trial.interpreter(contender, venvs)
    except (subprocess.CalledProcessError, OSError) as error:
        raise LookupError(f"{contender} is not installed here and could not be: {error}") from error


def table(loops: list[Loop]) -> str:
    """Return a line for each contender: images a second, and how many times as many tlkit has."""
    ours = next((loop.images_per_second for loop in loops if loop.name == "tlkit"), None)
    lines = [f"{'by':20} {'images/s':>10} {'tlkit':>12} {'first epoch s':>14} {'whole s':>8}"]
    for loop in loops:
        times = "" if ours is None or loop.name == "tlkit" else f"{ours / loop.images_per_second:.1f} times"
        lines.append(f"{loop.name:20} {loop.images_per_second:10,.0f} {times:>12} {loop.first:14.1f} {loop.whole:8.1f}")
    return "\n".join(lines)
