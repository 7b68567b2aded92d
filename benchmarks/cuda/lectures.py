"""The lectures' recipes on their own networks, beside their figures: models A to D on ResNet-18, Inception v3 trained three ways.

The rule: what a lecture says stands in `docs.lectures`, and the settings in the recipes. Their images and weights must be there: CIFAR-10
below $TLKIT_DATA, ImageNet weights below $TLKIT_WEIGHTS or in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import epochs
from docs.lectures import EXPERIMENTS, RECIPES, Figure

SHORTEST_FIRST = ("cifar4000_resnet18", "inception_three_arms")


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


def arms(names: Sequence[str] = SHORTEST_FIRST) -> Iterator[tuple[str, Figure]]:
    """Yield the recipe and the figure of every arm, in order."""
    for name in names:
        (experiment,) = (each for each in EXPERIMENTS if each.recipe == name)
        yield from ((name, figure) for figure in experiment.figures if figure.arm)


def measure(recipe: str, figure: Figure, *, device: str, seconds: float = math.inf, settings: Sequence[str] = ()) -> Row:
    """Train an arm.

    Args:
        recipe: Its file, without the suffix.
        figure: The lecture's, of that arm.
        device: As `tlkit.apply` takes it.
        seconds: After which it stops at the end of an epoch.
        settings: "key=value", to try it with less.

    Raises:
        TlkitError: images or weights are missing, or the run failed.
    """
    path = RECIPES / f"{recipe}.toml"
    trained = epochs.train(path, figure.arm, settings=[*settings, "seeds=[0]"], device=device, seconds=seconds)
    test, last = trained.test, trained.epochs[-1][0]
    return Row(
        recipe, figure.arm, figure.what, figure.lecture, test[-1], max(test), len(test), trained.complete, last, trained.notes
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return a line for each arm: the lecture's figure and ours."""
    lines = [f"{'recipe':24} {'arm':12} {'lecture %':>24} {'here %':>8} {'best %':>8} {'epochs':>12} {'seconds':>9}"]
    for row in rows:
        count = f"{row.epochs}" if row.complete else f"only {row.epochs}"
        lines.append(
            f"{row.recipe:24} {row.arm:12} {row.lecture:>24} {row.accuracy:8.2%} {row.best:8.2%} {count:>12} {row.seconds:9.1f}"
        )
    return "\n".join(lines)
