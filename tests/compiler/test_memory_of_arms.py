"""What is frozen needs no memory to train: the peak of each arm, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """\
format = 1
name = "arms"
[backbone]
name = "resnet18"
weights = "none"
[data]
name = "synthetic"
image_size = 64
batch_size = 64
split = { validation = 0.0 }
[data.options]
classes = 4
train = 128
test = 32
size = 64
[lr_groups]
backbone = 1e-3
head = 1e-2
[schedule]
epochs = 1
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
[arms.augmented_head]
freeze = { backbone = true }
data = { augment = ["hflip"] }
"""

# A page of a mapped file, as of the store, is not anonymous. The kernel counts pages by processor and sums them up late, which
# is no more than a few hundred kilobytes.
PEAK = """
import sys, threading
from pathlib import Path
from toy_training import training
import torch, torchvision, tlkit_resnet.build

def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

peak, done = 0, threading.Event()
def sample():
    global peak
    while not done.wait(0.002):
        peak = max(peak, held())

recipe, arm = Path(sys.argv[1]), sys.argv[2]
mine = training(recipe, arm=arm)
before = held()
sampler = threading.Thread(target=sample)
sampler.start()
(epoch,) = mine.fit.epochs()
done.set()
sampler.join()
print(peak - before, mine.plan.memory.total)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status, Linux's, to see anonymous memory")
def test_training_a_head_alone_takes_less_memory_than_finetuning(tmp_path: Path) -> None:
    recipe = tmp_path / "arms.toml"
    recipe.write_text(RECIPE)
    folder = Path(__file__).parents[1]
    path = os.pathsep.join([str(folder), str(folder / "toy"), str(folder.parent)])
    peaks = {}
    for arm in ("finetune", "head_only", "augmented_head"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(recipe), arm],
            env={**os.environ, "PYTHONPATH": path, "TLKIT_CACHE": str(tmp_path / arm)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[arm] = int(done.stdout.split()[0])
    # 11.2 million parameters. A frozen backbone has no gradients and none of Adam's two moments, but a folded copy of its weights.
    saved = (3 - 1) * 4 * 11_176_512
    assert peaks["finetune"] > saved
    assert peaks["head_only"] < peaks["finetune"] - saved
    assert peaks["augmented_head"] < peaks["finetune"] - saved
