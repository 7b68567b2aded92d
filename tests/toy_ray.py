"""Apply a recipe of six runs on a Ray cluster of two nodes, whose second is removed and one of whose workers is killed meanwhile.

Before that, one of its arms is applied in runs of two processes, one of which is killed.

    python toy_ray.py RECIPE RUNS

prints a line of JSON: what the driver was told, which worker was killed, and what a demand says that no node can meet. The threads and
the environment are the caller's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from tlkit import api
from tlkit.errors import TlkitError
from tlkit.events import Elsewhere, Observer
from tlkit.reports import elsewhere


class Notes(Observer):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def elsewhere(self, run: Elsewhere) -> None:
        if line := elsewhere.line(run):
            self.told.append(line)


def main(recipe: Path, runs: Path) -> None:
    """Apply it, disturbed."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    killed: list[int] = []

    def kill(runs: Path, task: str) -> None:
        while not list(runs.rglob("state-*")):
            time.sleep(0.1)
        found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        mine = [line.split() for line in found.splitlines() if f"ray::{task}" in line]
        killed.append(int(mine[-1][0]))
        os.kill(killed[-1], signal.SIGKILL)

    def disturb() -> None:
        kill(runs, "called")
        time.sleep(2)
        cluster.remove_node(second)

    notes, shared, asked = Notes(), Notes(), ""
    two = runs.with_name("shared")
    threading.Thread(target=kill, args=(two, "_called"), daemon=True).start()
    divided = api.apply(
        recipe, "seeds=[0]", arm="a", runs=two, executor="ray", address=cluster.address, cpus_per_run=2, processes_per_run=2,
        observer=shared,
    )  # fmt: skip
    try:
        api.apply(recipe, runs=runs, executor="ray", address=cluster.address, cpus_per_run=7)
    except TlkitError as error:
        asked = str(error)
    threading.Thread(target=disturb, daemon=True).start()
    applied = api.apply(recipe, runs=runs, executor="ray", address=cluster.address, observer=notes)
    cluster.shutdown()
    failures = list(map(str, [*divided.failures, *applied.failures]))
    print(json.dumps({"asked": asked, "killed": killed, "notes": notes.told, "failures": failures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
