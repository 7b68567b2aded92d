"""What saving costs a run whose backbone is frozen: bytes written, peak of anonymous memory, seconds.

    python -m benchmarks.saving

trains the head of a VGG-11 (129 million frozen parameters, random) for 6 epochs on 256 synthetic images of 64 pixels.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from tlkit import api

RECIPE = """\
format = 1
name = "saving"
precision = "float32"
seeds = [0]
[backbone]
name = "vgg11"
weights = "none"
[data]
name = "synthetic"
image_size = 64
batch_size = 32
[data.options]
classes = 4
train = 256
test = 64
size = 64
[freeze]
backbone = true
[lr_groups]
head = 1e-3
[schedule]
epochs = 6
"""


def main() -> None:
    """Train once, and print what was measured."""
    import torchvision  # noqa: F401  # so that its memory is not counted

    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "saving.toml"
        recipe.write_text(RECIPE)
        planned = api.plan(recipe)["main"].memory.total
        before, written, began = _field("status", "RssAnon"), _field("io", "wchar"), time.perf_counter()
        peak, done = [before], threading.Event()

        def sample() -> None:
            while not done.wait(0.005):
                peak[0] = max(peak[0], _field("status", "RssAnon"))

        sampler = threading.Thread(target=sample)
        sampler.start()
        applied = api.apply(recipe, runs=Path(folder) / "runs")
        done.set()
        sampler.join()
        seconds, saved = time.perf_counter() - began, _field("io", "wchar") - written
        (run,) = applied.result["arms"]["main"]["seeds"].values()
        print(f"written {saved / 1e9:.2f} GB, peak memory {(peak[0] - before) / 1e9:.2f} GB, planned {planned / 1e9:.2f} GB")
        print(f"{seconds:.1f} s in all, of which the run says {run['seconds']:.1f}")


def _field(file: str, name: str) -> int:
    """Return a field of /proc/self/FILE in bytes."""
    with open(f"/proc/self/{file}") as lines:
        words = next(line.split() for line in lines if line.startswith(f"{name}:"))
    return int(words[1]) * (1024 if words[2:] == ["kB"] else 1)


if __name__ == "__main__":
    main()
