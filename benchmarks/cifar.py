"""Time to accuracy: a ResNet-18 with random weights on CIFAR-10 at 32 pixels, to 94 % and to 96 % of the test images.

    python -m benchmarks.cifar [--json cifar.json] [--seeds 1] [--only to_94]

Trains the arms of recipes/cifar10_resnet18_32px.toml, each to its end, with nothing stored before. Needs a CUDA device, and the official
files of CIFAR-10 in $TLKIT_DATA, whose checksums are compared; else it says what is missing and measures nothing. There is no limit of
time. Seconds of training are those of epochs without their evaluation; the whole time is that since `apply` was called, with reading the
images, what is measured of the machine, and an evaluation of all test images after each epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from benchmarks import epochs
from benchmarks.epochs import Trained
from tlkit.sources import data_files

RECIPE = Path(__file__).parents[1] / "recipes" / "cifar10_resnet18_32px.toml"
GOALS = {"to_94": 0.94, "to_96": 0.96}  # test accuracy


@dataclass(frozen=True)
class Reached:
    """What one run reached.

    Attributes:
        arm: Of the recipe.
        seed: Of the run.
        goal: Test accuracy to reach.
        reached: The first epoch with that accuracy, from 1; None where no epoch has it.
        training: Seconds of training until then, of all epochs where it was not reached.
        whole: Seconds since `apply` was called, until the same moment.
        accuracy: After each epoch, of the test images.
        notes: What the run said of itself.
    """

    arm: str
    seed: int
    goal: float
    reached: int | None
    training: float
    whole: float
    accuracy: list[float]
    notes: list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print a table, and write a JSON file; print the reason and do nothing where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("cifar.json"), help="where the figures go (cifar.json)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each arm (1)")
    parser.add_argument("--only", choices=tuple(GOALS), help="only this arm")
    options = parser.parse_args(arguments)
    missing = _missing()
    if missing:
        print(f"benchmarks.cifar: skipped: {missing}")
        return
    arms = {arm: goal for arm, goal in GOALS.items() if options.only in (None, arm)}
    done: list[Reached] = []
    known = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "recipe": RECIPE.read_text(encoding="utf-8")}
    for arm, goal in arms.items():
        for seed in range(options.seeds):
            done.append(measure(arm, goal=goal, seed=seed, device="cuda"))
            print(row(done[-1]), file=sys.stderr, flush=True)
            record = {**known, "runs": [asdict(each) for each in done]}  # after each run: the last one may take long
            options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{known['gpu']}, torch {torch.__version__}, {RECIPE.name}")
    print(table(done))
    print(f"written to {options.json}")


def table(runs: Sequence[Reached]) -> str:
    """Return a line for each run."""
    head = f"{'arm':8} {'seed':>4} {'goal':>6} {'epoch':>12} {'training s':>11} {'whole s':>9} {'at the end':>11}"
    return "\n".join([head, *map(row, runs)])


def row(run: Reached) -> str:
    """Return a line of the table."""
    reached = "not reached" if run.reached is None else str(run.reached)
    seconds = f"{run.training:11.1f} {run.whole:9.1f}"
    return f"{run.arm:8} {run.seed:4} {run.goal:6.0%} {reached:>12} {seconds} {run.accuracy[-1]:11.2%}"


def measure(
    arm: str, *, goal: float, seed: int, device: str, settings: Sequence[str] = (), seconds: float = math.inf
) -> Reached:
    """Train an arm of the recipe.

    Args:
        arm: Of the recipe.
        goal: Test accuracy to reach.
        seed: Of the run.
        device: As `tlkit.apply` takes it.
        settings: "key=value", to try it with less.
        seconds: After which it stops, as `epochs.train` does.

    Raises:
        TlkitError: images are missing, or the run failed.
    """
    given = [*settings, f"seeds=[{seed}]"]
    return summary(arm, seed, goal, epochs.train(RECIPE, arm, settings=given, device=device, seconds=seconds))


def summary(arm: str, seed: int, goal: float, trained: Trained) -> Reached:
    """Return what a run reached.

    Args:
        arm: Of the recipe.
        seed: Of the run.
        goal: Test accuracy to reach.
        trained: The run.
    """
    reached = next((number for number, value in enumerate(trained.test, start=1) if value >= goal), None)
    until = trained.epochs[: reached or len(trained.epochs)]
    training = sum(epoch.seconds - epoch.times.get("evaluation", 0.0) for _, epoch in until)
    return Reached(arm, seed, goal, reached, training, until[-1][0], trained.test, trained.notes)


def _missing() -> str:
    """Return what is not there, in words; "" where nothing is missing."""
    if not torch.cuda.is_available():
        return "it needs a CUDA device, and torch finds none here"
    return missing_files(data_files.data_folder())


def missing_files(folder: Path) -> str:
    """Return which official files of CIFAR-10 are not in a data folder, in words; "" where all are.

    The checksums are those of torchvision.datasets.CIFAR10.
    """
    subfolder = folder / CIFAR10.base_folder
    official: list[Any] = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    other = [name for name, md5 in official if not check_integrity(str(subfolder / name), md5)]
    if not other:
        return ""
    return (
        f"{subfolder} does not hold the official files of CIFAR-10 ({', '.join(other)}); TLKIT_DATA names the folder above it"
    )


if __name__ == "__main__":
    main()
