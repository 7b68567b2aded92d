"""How many images a second a recipe trains with one process and with several on this machine, and what each process sends.

    python -m benchmarks.ranks RECIPE [--processes 1 2 4] [--epochs 3] [--set KEY=VALUE] [--json]

Each number of processes is a run of its own, started by torchrun with an equal part of the processors; epochs before the last are left out of
account. Nothing else should run meanwhile: the processes wait for each other in every step.
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
from typing import Any

from tlkit import machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with each number of processes, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="(1 2 4)")
    parser.add_argument("--arm", help="which arm; by default the recipe's first by name")
    parser.add_argument("--epochs", type=int, default=3, help="of each run (3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of tlkit apply")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    settings = [*options.set, "seeds=[0]", f"schedule.epochs={options.epochs}"]
    found = [measure(options.recipe, count, settings, arm=options.arm) for count in options.processes]
    for each in found:
        each["times"] = each["images_per_second"] / found[0]["images_per_second"]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for each in found:
        print(
            f"{each['processes']} processes: {each['images_per_second']:,.1f} images/s, {each['times']:.2f} times those of {options.processes[0]}; "
            f"{each['sent']:,} bytes sent a step by each"
        )
    return 0


def measure(recipe: Path, count: int, settings: Sequence[str], *, arm: str | None = None) -> dict[str, Any]:
    """Train an arm with so many processes; return images a second of its last epoch, and bytes that each process sends in a step."""
    threads = max(machine.processors() // count, 1)
    with tempfile.TemporaryDirectory() as scratch:
        start = ["-m"] if count == 1 else ["-m", "torch.distributed.run", f"--nproc-per-node={count}", "-m"]
        command = [sys.executable, *start, "tlkit", "apply", str(recipe), "--runs", scratch]
        command += [] if arm is None else ["--arm", arm]
        for each in settings:
            command += ["--set", each]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TLKIT_CACHE": str(Path(scratch) / "cache")}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        run = min(path.parent for path in Path(scratch).rglob("metrics.jsonl"))
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        plan = json.loads((run / "plan.json").read_text())
    sent = 0 if plan["processes"] is None else plan["processes"]["sent"]
    return {"processes": count, "threads": threads, "images_per_second": last["images_per_second"], "sent": sent}


if __name__ == "__main__":
    sys.exit(main())
