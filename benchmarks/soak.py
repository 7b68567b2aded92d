"""Memory hardly grows with the number of pictures: the peak on 1,000, 100,000 and 1,000,000 of them, for one epoch.

    make soak                                           # python -m benchmarks.soak
    python -m benchmarks.soak --counts 1000 10000       # quicker
    python -m benchmarks.soak --data shards             # the same pictures in tar archives

Pictures are PNG files of 32 x 32 pixels in class folders, so the paths and what is known of each picture count too. Exit code 1
where the peak of anonymous memory grows by more than --allowed bytes for each picture.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w
from PIL import Image

ROOT = Path(__file__).parents[1]
ALLOWED = 1000  # bytes a picture
COUNTS = [1000, 100_000, 1_000_000]
_SIDE, _CLASSES, _TEST = 32, 10, 200  # pixels; classes; test pictures, the same number always
_FREEZE = {"head_only": {"backbone": True}, "finetune": {}}
_RUN = """
import json, sys
import tlkit
from tlkit.run import executor
from benchmarks.machine import Peak
with Peak() as peak:
    applied = tlkit.apply(sys.argv[1], runs=sys.argv[2], offline=True)
assert not applied.failures, applied.failures
print(json.dumps({"peak": peak.bytes}))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on each number of pictures and compare the peaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, metavar="N", help="pictures (1000 100000 1000000)")
    parser.add_argument("--allowed", type=float, default=ALLOWED, help=f"growth, bytes a picture ({ALLOWED})")
    parser.add_argument("--backbone", default="lenet5", help="with random weights (lenet5)")
    parser.add_argument("--data", choices=["folder", "shards"], nargs="+", default=["folder", "shards"])
    options = parser.parse_args(arguments)
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for count in options.counts:
            pictures(Path(scratch) / "folder" / str(count), count)
            if "shards" in options.data:
                shards(Path(scratch), count)
        for data in options.data:
            for arm in _FREEZE:
                began = _processor_seconds()
                peaks = [peak(Path(scratch), arm, count, options.backbone, data) for count in options.counts]
                shown = ", ".join(
                    f"{each / 1e6:,.0f} MB at {count:,}" for count, each in zip(options.counts, peaks, strict=True)
                )
                growth = [
                    (each - peaks[0]) / (count - options.counts[0])
                    for count, each in zip(options.counts[1:], peaks[1:], strict=True)
                ]
                print(f"{data}, {arm}: {shown}; {', '.join(f'{each:,.0f}' for each in growth)} bytes a picture", flush=True)
                print(f"  {_processor_seconds() - began:,.0f} s of processors", flush=True)
                worst = max(worst, *growth[-1:])
    print(f"grew by {worst:,.0f} bytes a picture at most; {options.allowed:g} are allowed")
    return 1 if worst > options.allowed else 0


def _processor_seconds() -> float:
    """Return the seconds of processors that the runs took so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shards(scratch: Path, count: int) -> None:
    """Write the pictures of a number as shards."""
    from tlkit.sources import shards as writer

    out = scratch / "shards" / str(count)
    out.parent.mkdir(exist_ok=True)
    writer.write(scratch / "folder" / str(count), out, size=64_000_000, progress=lambda *_: None, notify=print)


def pictures(folder: Path, count: int) -> None:
    """Write so many training pictures and a few test pictures, noise with a tint for each class."""
    generator = np.random.default_rng(0)
    for part, number in (("train", count), ("test", _TEST)):
        for label in range(_CLASSES):
            (folder / part / f"class{label}").mkdir(parents=True)
        for index in range(number):
            label = index % _CLASSES
            pixels = generator.integers(0, 128, (_SIDE, _SIDE, 3), dtype=np.uint8) + np.uint8(label * 12)
            Image.fromarray(pixels).save(folder / part / f"class{label}" / f"{index:06d}.png", compress_level=1)


def peak(scratch: Path, arm: str, count: int, backbone: str, data: str = "folder") -> int:
    """Train an arm for one epoch in a process of its own, nothing stored; return its peak of anonymous memory, bytes."""
    name = f"{data}-{arm}-{count}"
    recipe = scratch / f"{name}.toml"
    recipe.write_text(tomli_w.dumps(_recipe(name, str(scratch / data / str(count)), arm, backbone, data)))
    environment = {**os.environ, "TLKIT_CACHE": str(scratch / f"cache-{name}")}
    command = [sys.executable, "-c", _RUN, str(recipe), str(scratch / "runs")]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak"])


def _recipe(name: str, folder: str, arm: str, backbone: str, data: str = "folder") -> dict[str, object]:
    return {
        "format": 1,
        "name": name,
        "backbone": {"name": backbone, "weights": "none"},
        "data": {"name": data, "image_size": _SIDE, "batch_size": 64, "crop": 1.0, "options": {"path": folder}},
        "freeze": _FREEZE[arm],
        "lr_groups": {"backbone": 1e-3, "head": 1e-3},
        "optimizer": {"name": "sgd"},
        "schedule": {"name": "constant", "epochs": 1},
    }


if __name__ == "__main__":
    sys.exit(main())
