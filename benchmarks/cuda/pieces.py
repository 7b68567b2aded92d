"""The parts of the benchmark of a GPU, and what each of them measures, one piece after the other."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import cifar
from benchmarks.cuda import engine, gpu_tests, lectures, loops, tasks
from benchmarks.cuda.places import watched
from benchmarks.cuda.tasks import Sizes

Piece = tuple[str, Callable[[float], Any]]  # its name, and what is called with the seconds that are left

# What no GPU has measured yet, the most wanted first, with the minutes that a part may take, and more where others need less.
OPEN = {"tasks": 4.0, "loops": 4.0, "tests": 3.0, "engine": 1.5, "lectures": 1.0, "cifar": 0.5}
PARTS = tuple(OPEN)
TABLES: dict[str, Callable[[Sequence[Any]], str]] = {
    "engine": engine.table,
    "tasks": tasks.table,
    "tests": gpu_tests.table,
    "loops": lambda rows: loops.table(list(rows)),
    "lectures": lectures.table,
    "cifar": cifar.table,
}
_VAL = 512  # pictures that the loops evaluate on
_MOST = 60.0  # seconds of a piece that has no limit of its own


def pieces(
    part: str, options: argparse.Namespace, scratch: Path, device: torch.device, *, wanted: Callable[[str], bool],
    backbone: str = "resnet18", dense: str = "efficientnet_lite0", precision: str = "bfloat16", val: int = _VAL, short: int = 256,
    settings: Sequence[str] = (),
) -> Iterator[Piece]:  # fmt: skip
    """Yield what a part measures, one after the other.

    Args:
        part: One of PARTS.
        options: Of the command line.
        scratch: For files.
        device: To measure on.
        wanted: Whether a piece of a name is yielded.
        backbone: Of the engine's part, and of that of tasks.
        dense: Of masks and boxes.
        precision: Of the engine's part, and of that of tasks.
        val: Pictures that loops evaluate on.
        short: Side of the loops' pictures, pixels.
        settings: "key=value", of recipes of the lectures and of CIFAR-10.
    """
    sizes = {"batch": options.batch, "side": options.side}
    if part == "engine":
        for name in filter(wanted, engine.AUGMENTATIONS):
            yield name, _limited(lambda name=name: engine.measure(
                name, device=device, images=options.images, epochs=options.epochs, backbone=backbone, precision=precision, **sizes
            ))  # fmt: skip
    elif part == "tasks":
        given = Sizes(options.images, epochs=options.epochs, backbone=backbone, dense=dense, precision=precision, **sizes)
        for name in filter(wanted, tasks.names()):
            yield name, _limited(lambda name=name: tasks.measure(name, _folder(scratch / "tasks"), sizes=given, device=device))
    elif part == "tests":
        files = list(filter(wanted, gpu_tests.FILES))
        session = gpu_tests.Session(files)
        yield from ((file, lambda left, file=file: session.measure(file, limit=left)) for file in files)
    elif part == "loops":
        names = list(filter(wanted, options.peer or loops.CONTENDERS))
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
        for name, share in _shares(list(filter(wanted, arms))):
            recipe, figure = arms[name]
            yield (
                name,
                lambda left, recipe=recipe, figure=figure, share=share: lectures.measure(
                    recipe, figure, device=device.type, seconds=left * share, settings=settings
                ),
            )
    else:
        for arm, share in _shares(list(filter(wanted, cifar.GOALS))):
            yield (
                arm,
                lambda left, arm=arm, share=share: cifar.measure(
                    arm, goal=cifar.GOALS[arm], seed=0, device=device.type, settings=settings, seconds=left * share
                ),
            )


class _OverError(BaseException):
    """A piece takes too long. No error, which whoever tries something, such as a capture, would take for its own."""


def _limited(do: Callable[[], Any]) -> Callable[[float], Any]:
    """Return what ends a call after the seconds that are left, at most `_MOST`, by a TimeoutError."""

    def measured(left: float) -> Any:
        def over(*_: object) -> None:
            raise _OverError

        limit = min(left, _MOST)
        before = signal.signal(signal.SIGALRM, over)
        with watched() as places:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(limit, 0.001))
                return replace(do(), places=places.lines())
            except _OverError as error:
                was = "; ".join(places.lines(6))
                raise TimeoutError(f"did not end within {limit:.0f} s; the host was {was or 'nowhere yet'}") from error
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

    return measured


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _shares(names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield each name with its share of the time that is left then, so that one that takes long leaves time to the others."""
    yield from ((name, 1 / (len(names) - number)) for number, name in enumerate(names))
