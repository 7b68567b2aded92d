"""Memory is flat in the number of pictures: the peak on 1,000 and on 100,000 of them, for one epoch.

    make soak                                           # python -m benchmarks.soak
    python -m benchmarks.soak --counts 1000 10000       # quicker

Pictures are PNG files of 32 x 32 pixels in class folders, so the paths and what is known of each picture count too. Exit code 1
where the peak of anonymous memory grows by more than --allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w
from PIL import Image

ROOT = Path(__file__).parents[1]
ALLOWED = 150  # MB, 10^6 bytes
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
    parser.add_argument("--counts", type=int, nargs=2, default=[1000, 100_000], metavar="N", help="pictures (1000 100000)")
    parser.add_argument("--allowed", type=float, default=ALLOWED, help=f"growth, MB ({ALLOWED})")
    parser.add_argument("--backbone", default="resnet18", help="with random weights (resnet18)")
    options = parser.parse_args(arguments)
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for count in options.counts:
            pictures(Path(scratch) / str(count), count)
        for arm in _FREEZE:
            small, large = (peak(Path(scratch), arm, count, options.backbone) / 1e6 for count in options.counts)
            print(
                f"{arm}: {small:,.0f} MB at {options.counts[0]:,} pictures, {large:,.0f} MB at {options.counts[1]:,}",
                flush=True,
            )
            worst = max(worst, large - small)
    print(f"grew by {worst:,.0f} MB at most; {options.allowed:g} MB are allowed")
    return 1 if worst > options.allowed else 0


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


def peak(scratch: Path, arm: str, count: int, backbone: str) -> int:
    """Train an arm for one epoch in a process of its own, nothing stored; return its peak of anonymous memory, bytes."""
    name = f"{arm}-{count}"
    recipe = scratch / f"{name}.toml"
    recipe.write_text(tomli_w.dumps(_recipe(name, str(scratch / str(count)), arm, backbone)))
    environment = {**os.environ, "TLKIT_CACHE": str(scratch / f"cache-{name}")}
    command = [sys.executable, "-c", _RUN, str(recipe), str(scratch / "runs")]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak"])


def _recipe(name: str, folder: str, arm: str, backbone: str) -> dict[str, object]:
    return {
        "format": 1,
        "name": name,
        "backbone": {"name": backbone, "weights": "none"},
        "data": {"name": "folder", "image_size": _SIDE, "batch_size": 64, "crop": 1.0, "options": {"path": folder}},
        "freeze": _FREEZE[arm],
        "lr_groups": {"backbone": 1e-3, "head": 1e-3},
        "optimizer": {"name": "sgd"},
        "schedule": {"name": "constant", "epochs": 1},
    }


if __name__ == "__main__":
    sys.exit(main())
