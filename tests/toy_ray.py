"""Use a Ray cluster of two nodes with one processor each in all ways, one after the other, and disturb it.

    python toy_ray.py FOLDER

FOLDER holds toy.toml, four runs, searched.toml, and pictures with toy.pth. Of each use, what it wrote lies in FOLDER, in folders of these names:

    shared      an arm of toy.toml in runs of two processes, one of which is killed
    searched    the trials of searched.toml, each in two processes
    s3          an arm of toy.toml in runs of two processes, its run folders behind s3://, on a server of this machine
    advised     what `tlkit advise` tries
    stopped     toy.toml, stopped by Ctrl-C; together, the same with runs of two processes
    runs        toy.toml, while a worker is killed and the second node is removed

Prints a line of JSON with what the driver was told. The threads and the environment are the caller's.
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

import fsspec
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster
from toy_observers import Notes

from tlkit import api
from tlkit.advice import stopping, trying
from tlkit.errors import TlkitError
from tlkit.events import Elsewhere
from tlkit.reports import elsewhere

TWO = ["--processes-per-run", "2", "--cpus-per-run", "2"]


class Elsewheres(Notes):
    """Keeps what is told, also of runs elsewhere."""

    def elsewhere(self, run: Elsewhere) -> None:
        if line := elsewhere.line(run):
            self.notes.append(line)


def kill(runs: Path, task: str, killed: list[int]) -> None:
    """Kill a worker once one has saved something."""
    while not list(runs.rglob("state-*")):
        time.sleep(0.1)
    found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    mine = [line.split() for line in found.splitlines() if f"ray::{task}" in line]
    killed.append(int(mine[-1][0]))
    os.kill(killed[-1], signal.SIGKILL)


def stopped(folder: Path, name: str, *more: str) -> dict[str, object]:
    """Apply a recipe in a process of its own, and press Ctrl-C once a run has saved an epoch; say how it ended."""
    command = [sys.executable, "-m", "tlkit", "apply", "toy.toml", "--arm", "a", "--executor", "ray", "--runs", name, *more]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not list((folder / name).rglob("state-*")) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate()
    results = [json.loads(path.read_text()) for path in (folder / name).glob("*/a-*/result.json")]
    return {
        "code": process.returncode, "said": said, "seconds": time.monotonic() - began,
        "statuses": sorted({each["status"] for each in results}),
    }  # fmt: skip


def main(folder: Path) -> None:
    """Use the cluster."""
    bucket = ThreadedMotoServer(port=0, verbose=False)
    bucket.start()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*bucket.get_host_and_port()),
    }  # fmt: skip
    fsspec.filesystem("s3").mkdir("bucket")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    here, killed, recipe = ["--address", cluster.address], list[int](), folder / "toy.toml"
    told: dict[str, object] = {"killed": killed}
    failures: list[object] = []

    def notes_of(recipe: str, runs: str | Path, *settings: str, cpus: int = 1, arm: str | None = None) -> list[str]:
        notes = Elsewheres()
        applied = api.apply(
            folder / recipe, settings, arm=arm, runs=runs, executor="ray", address=cluster.address, cpus_per_run=cpus,
            processes_per_run=cpus, observer=notes,
        )  # fmt: skip
        failures.extend(applied.failures)
        return notes.notes

    threading.Thread(target=kill, args=(folder / "shared", "_called", killed), daemon=True).start()
    notes_of("toy.toml", folder / "shared", "seeds=[0]", cpus=2, arm="a")
    told["searched"] = notes_of("searched.toml", folder / "searched", cpus=2)
    told["s3"] = notes_of("toy.toml", "s3://bucket/runs", "seeds=[0]", cpus=2, arm="a")
    fsspec.filesystem("s3").get("bucket/runs", str(folder / "s3"), recursive=True)
    told["stopped"] = stopped(folder, "stopped", *here)
    told["together"] = stopped(folder, "together", *here, *TWO)
    trying.RUNGS, stopping.needed = (1.0,), lambda *_, **__: 0.0  # each way once, whatever time is left
    advice = api.advise(
        folder / "pictures", backbones=f"toy={folder}/toy.pth", out=folder / "advised.toml", runs=folder / "advised", executor="ray",
        address=cluster.address,
    )  # fmt: skip
    told["advised"] = {each.name: each.accuracy for each in advice.trials}
    try:
        api.apply(recipe, runs=folder / "runs", executor="ray", address=cluster.address, cpus_per_run=7)
    except TlkitError as error:
        told["asked"] = str(error)

    def disturb() -> None:
        kill(folder / "runs", "called", killed)
        time.sleep(2)
        cluster.remove_node(second)

    threading.Thread(target=disturb, daemon=True).start()
    told["notes"] = notes_of("toy.toml", folder / "runs")
    cluster.shutdown()
    bucket.stop()
    print(json.dumps(told | {"failures": list(map(str, failures))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
