"""Images per second of `tlkit predict` beside those of the engine's evaluation, over the same files.

    python -m benchmarks.predicting RUN FOLDER [--pairs 5] [--images 1000] [--json]

RUN is a finished run's folder; FOLDER holds images in one sub-folder per class. Both sides decode every file and run the network on it:
`predict` through `Predictor.answers`, the engine through the evaluation of `tlkit evaluate`, into a store that is new each time. They take
turns. The output has the median ratio of the images per second, and that of the processor's seconds, which other programs change less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import torch

from tlkit.run import evaluation, executor, loading, torch_settings
from tlkit.run.prediction import Predictor
from tlkit.sources import image_files
from tlkit.sources.places import Places


@dataclass(frozen=True)
class Cost:
    """What a side took for all images: seconds, and seconds of the processor over all threads."""

    seconds: float
    processor: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both rates."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=5, help="times that both sides take their turn (5)")
    parser.add_argument("--images", type=int, default=1000, help="at most so many, evenly of all classes (1000)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    predictor = loading.load(options.run, arm=None, device=executor.device_of("auto"))
    with tempfile.TemporaryDirectory() as scratch, torch_settings.applied(predictor.device):
        files = _linked(options.folder, Path(scratch) / "images", options.images)
        sides = (_predicting(predictor, files), _evaluating(predictor, options.run, Path(scratch)))
        for side in sides:  # the system has the files in memory, and torch has chosen its kernels
            side()
        pairs = []
        for number in range(options.pairs):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            costs = {place: _cost(sides[place]) for place in order}
            pairs.append((costs[0], costs[1]))
    _tell(pairs, len(files), as_json=options.json)


def _linked(folder: Path, to: Path, most: int) -> list[Path]:
    """Link some images of a folder into another one, class by class; return the links in order."""
    found = image_files.below(folder, where="benchmark", notify=print)
    for place in range(0, len(found), max(1, -(-len(found) // most))):
        link = to / found[place].parent.name / f"{place}{found[place].suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(found[place].resolve())
    return image_files.below(to, where="benchmark", notify=print)


def _predicting(predictor: Predictor, files: Sequence[Path]) -> Callable[[], None]:
    def turn() -> None:
        for answer in predictor.answers(files):
            if isinstance(answer, Exception):
                raise answer

    return turn


def _evaluating(predictor: Predictor, run: Path, scratch: Path) -> Callable[[], None]:
    def turn() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as store, mock.patch.dict(os.environ, {"TLKIT_CACHE": store}):
            places = Places(recipe=Path(), data=None, offline=True, notify=print)
            evaluation.evaluate(predictor, run, str(scratch / "images"), places=places)

    return turn


def _cost(turn: Callable[[], None]) -> Cost:
    began, busy = time.perf_counter(), time.process_time()
    turn()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Cost(time.perf_counter() - began, time.process_time() - busy)


def _tell(pairs: Sequence[tuple[Cost, Cost]], images: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"images": images, "pairs": [[asdict(cost) for cost in pair] for pair in pairs]}))
        return
    rates = [statistics.median(images / pair[side].seconds for pair in pairs) for side in (0, 1)]
    faster = sorted(engine.seconds / predict.seconds for predict, engine in pairs)
    work = statistics.median(predict.processor / engine.processor for predict, engine in pairs)
    print(
        f"{images:,} images: predict {rates[0]:.1f} images/s, the engine's evaluation {rates[1]:.1f}; predict has {statistics.median(faster):.2f} "
        f"of its rate ({faster[0]:.2f} to {faster[-1]:.2f}, n = {len(pairs)} pairs) and takes {work:.2f} of its processor time"
    )


if __name__ == "__main__":
    main()
