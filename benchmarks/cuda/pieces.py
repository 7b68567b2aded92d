"""The parts of the benchmark of a GPU, and what each of them measures, one piece after the other."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import cifar
from benchmarks.cuda import engine, gpu_tests, lectures, loops

Piece = tuple[str, Callable[[float], Any]]  # its name, and what is called with the seconds that are left

# What no GPU has measured yet, the most wanted first, with the minutes that a part may take.
OPEN = {"engine": 3.0, "tests": 4.0, "loops": 4.0, "lectures": 2.0, "cifar": 1.0}
PARTS = tuple(OPEN)
TABLES: dict[str, Callable[[Sequence[Any]], str]] = {
    "engine": engine.table,
    "tests": gpu_tests.table,
    "loops": lambda rows: loops.table(list(rows)),
    "lectures": lectures.table,
    "cifar": cifar.table,
}
_VAL = 512  # pictures that the loops evaluate on


def pieces(
    part: str, options: argparse.Namespace, scratch: Path, device: torch.device, *, done: Collection[str] = (),
    backbone: str = "resnet18", precision: str = "bfloat16", val: int = _VAL, short: int = 256, settings: Sequence[str] = (),
) -> Iterator[Piece]:  # fmt: skip
    """Yield what a part measures, one after the other.

    Args:
        part: One of PARTS.
        options: Of the command line.
        scratch: For files.
        device: To measure on.
        done: Names of pieces that are not yielded again.
        backbone: Of the engine's part.
        precision: Of the engine's part.
        val: Pictures that loops evaluate on.
        short: Side of the loops' pictures, pixels.
        settings: "key=value", of recipes of the lectures and of CIFAR-10.
    """
    sizes = {"batch": options.batch, "side": options.side}
    if part == "engine":
        for name in (each for each in engine.AUGMENTATIONS if each not in done):
            yield name, lambda _, name=name: engine.measure(
                name, device=device, images=options.images, epochs=options.epochs, backbone=backbone, precision=precision, **sizes
            )  # fmt: skip
    elif part == "tests":
        for file, share in _shares([file for file in gpu_tests.FILES if file not in done]):
            yield file, lambda left, file=file, share=share: gpu_tests.measure(file, limit=left * share)
    elif part == "loops":
        names = [name for name in options.peer or loops.CONTENDERS if name not in done]
        train = max(options.images // 2 // options.batch, 1) * options.batch  # timm's loader leaves out a last small batch
        made: list[loops.Spec] = []  # once, by the first that is measured: its time counts

        def loop(name: str, share: float) -> Callable[[float], loops.Loop]:
            def measure(left: float) -> loops.Loop:
                if not made:
                    made.append(loops.prepare(scratch / "pictures", train=train, val=val, short=short, **sizes))
                limit = min(left * share, options.peer_seconds)
                return loops.measure(name, made[0], epochs=options.epochs, venvs=scratch / "venvs", train=train, limit=limit)

            return measure

        yield from ((name, loop(name, share)) for name, share in _shares(names))
    elif part == "lectures":
        arms = {f"{recipe}, {figure.arm}": (recipe, figure) for recipe, figure in lectures.arms()}
        for name, share in _shares([name for name in arms if name not in done]):
            recipe, figure = arms[name]
            yield (
                name,
                lambda left, recipe=recipe, figure=figure, share=share: lectures.measure(
                    recipe, figure, device=device.type, seconds=left * share, settings=settings
                ),
            )
    else:
        for arm, share in _shares([arm for arm in cifar.GOALS if arm not in done]):
            yield (
                arm,
                lambda left, arm=arm, share=share: cifar.measure(
                    arm, goal=cifar.GOALS[arm], seed=0, device=device.type, settings=settings, seconds=left * share
                ),
            )


def _shares(names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield each name with its share of the time that is left then, so that one that takes long leaves time to the others."""
    yield from ((name, 1 / (len(names) - number)) for number, name in enumerate(names))
