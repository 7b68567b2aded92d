"""The lectures' recipes on their own networks, beside their figures: models A to D on ResNet-18, Inception v3 trained three ways.

The rule: what a lecture says stands in `docs.lectures`, and the settings in the recipes. Their images and weights must be there: CIFAR-10
below $TLKIT_DATA, ImageNet weights below $TLKIT_WEIGHTS or in the cache. Arms with random weights need no others, and other files of CIFAR-10
than the official ones are trained on, and told: their accuracy is not the lecture's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import cifar, epochs
from docs.lectures import EXPERIMENTS, RECIPES, Figure
from tlkit.sources import data_files

SHORTEST_FIRST = ("cifar4000_resnet18", "inception_three_arms")
RANDOM = ("A1", "A2", "scratch")  # arms with random weights


@dataclass(frozen=True)
class Row:
    """An arm of a lecture's recipe.

    Attributes:
        recipe: Its file, without the suffix.
        arm: Its name.
        what: The way of training, in words.
        lecture: The lecture's figure, in %; "" where it has none.
        accuracy: Of the test images after the last epoch, 0 to 1.
        best: The largest of any epoch: the lecture's curve may say that.
        epochs: That were trained.
        complete: Whether these are all.
        seconds: Of the whole command.
        notes: What the run said of itself.
        other_files: The images are not those of CIFAR-10's official files.
    """

    recipe: str
    arm: str
    what: str
    lecture: str
    accuracy: float
    best: float
    epochs: int
    complete: bool
    seconds: float
    notes: list[str]
    other_files: bool = False


def arms(names: Sequence[str] = SHORTEST_FIRST) -> Iterator[tuple[str, Figure]]:
    """Yield the recipe and the figure of every arm, in order; last those with random weights, which get the time of others without theirs."""
    found = []
    for name in names:
        (experiment,) = (each for each in EXPERIMENTS if each.recipe == name)
        found += [(name, figure) for figure in experiment.figures if figure.arm]
    yield from sorted(found, key=lambda each: each[1].arm in RANDOM)


def measure(recipe: str, figure: Figure, *, device: str, seconds: float = math.inf, settings: Sequence[str] = ()) -> Row:
    """Train an arm.

    Args:
        recipe: Its file, without the suffix.
        figure: The lecture's, of that arm.
        device: As `tlkit.apply` takes it.
        seconds: After which it stops, as `epochs.train` does.
        settings: "key=value", to try it with less.

    Raises:
        TlkitError: images or weights are missing, or the run failed.
    """
    path = RECIPES / f"{recipe}.toml"
    trained = epochs.train(path, figure.arm, settings=[*settings, "seeds=[0]"], device=device, seconds=seconds)
    test, last = trained.test, trained.epochs[-1][0]
    return Row(
        recipe, figure.arm, figure.what, figure.lecture, test[-1], max(test), len(test), trained.complete, last, trained.notes,
        other_files=bool(cifar.missing_files(data_files.data_folder())),
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return a line for each arm: the lecture's figure and ours."""
    lines = [f"{'recipe':24} {'arm':12} {'lecture %':>24} {'here %':>8} {'best %':>8} {'epochs':>12} {'seconds':>9}"]
    for row in rows:
        count = f"{row.epochs}" if row.complete else f"only {row.epochs}"
        line = (
            f"{row.recipe:24} {row.arm:12} {row.lecture:>24} {row.accuracy:8.2%} {row.best:8.2%} {count:>12} {row.seconds:9.1f}"
        )
        lines.append(f"{line}{'  not the official files' if row.other_files else ''}")
    return "\n".join(lines)
