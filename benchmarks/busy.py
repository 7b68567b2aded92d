"""What other programs cost a training step, by how long torch's threads ask for work before they sleep.

    python -m benchmarks.busy [--busy 0 1 2] [--rounds 5] [--steps 4] [--json]

A step is ResNet-18 on 32 random pictures of 96 pixels in bfloat16, forward, backward and SGD. Every setting runs in a process of its own,
with so many other processes that only count. In a round each setting has its turn; figures are medians over the rounds of the median
step of a process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as libgomp does": {},
    "GOMP_SPINCOUNT=0": {"GOMP_SPINCOUNT": "0"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line for each setting."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="other processes (0 1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each setting takes its turn (5)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a process, after two others (4)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        print(_steps(options.steps))
        return
    found: dict[str, dict[int, float]] = {name: {} for name in SETTINGS}
    for busy in options.busy:
        seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
        with _counting(busy):
            for _ in range(options.rounds):
                for name, setting in SETTINGS.items():
                    seconds[name].append(_process(setting, options.steps))
                    print(f"{busy} busy, {name}: {seconds[name][-1]:.3f} s", file=sys.stderr, flush=True)
        for name, each in seconds.items():
            found[name][busy] = statistics.median(each)
    if options.json:
        print(json.dumps({"rounds": options.rounds, "steps": options.steps, "seconds": found}))
        return
    print("seconds of a step, by other busy processes".ljust(44) + "".join(f"{busy:>8}" for busy in options.busy))
    for name, each in found.items():
        print(f"{name:<44}" + "".join(f"{each[busy]:8.3f}" for busy in options.busy))


@contextlib.contextmanager
def _counting(processes: int) -> Iterator[None]:
    """Keep so many processes busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


def _process(setting: Mapping[str, str], steps: int) -> float:
    """Return the seconds of a step in a new process."""
    environment = {name: value for name, value in os.environ.items() if name not in _OWN} | dict(setting)
    command = [sys.executable, "-m", "benchmarks.busy", "--step", "--steps", str(steps)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def _steps(count: int) -> float:
    """Return the median seconds of a step, here."""
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    x, y = torch.randn(32, 3, 96, 96), torch.randint(10, (32,))
    seconds = []
    for _ in range(count + 2):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
