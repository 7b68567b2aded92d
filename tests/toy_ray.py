"""Apply a recipe of six runs on a Ray cluster of two nodes, whose second is removed and one of whose workers is killed meanwhile.

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
from tlkit.events import Observer


class Notes(Observer):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def main(recipe: Path, runs: Path) -> None:
    """Apply it, disturbed."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    killed: list[int] = []

    def disturb() -> None:
        while not list(runs.rglob("state-*")):
            time.sleep(0.1)
        found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        mine = [line.split() for line in found.splitlines() if "ray::_call" in line]
        killed.append(int(mine[0][0]))
        os.kill(killed[0], signal.SIGKILL)
        time.sleep(2)
        cluster.remove_node(second)

    notes, asked = Notes(), ""
    try:
        api.apply(recipe, runs=runs, executor="ray", address=cluster.address, cpus_per_run=7)
    except TlkitError as error:
        asked = str(error)
    threading.Thread(target=disturb, daemon=True).start()
    applied = api.apply(recipe, runs=runs, executor="ray", address=cluster.address, observer=notes)
    cluster.shutdown()
    print(json.dumps({"asked": asked, "killed": killed, "notes": notes.told, "failures": list(map(str, applied.failures))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
