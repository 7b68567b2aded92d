"""Start the command line as several processes, as torchrun does, forked after torch is imported.

python toy_launch.py FOLDER < LAUNCHES: a JSON list of launches, carried out one after the other in FOLDER. Of each, a line of JSON has the
exit code, the output and the seconds of every process. A launch has

    size         processes; 1 is one without torchrun
    arguments    of tlkit
    more         further arguments of one process, by its number
    prune        the number of a trial that is pruned after its first epoch
    end          [process, step, signal]: which one gets a signal after so many steps
"""

import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchmetrics.functional.classification  # noqa: F401  # this and the next are imported once, and not in every process

import tlkit.run.executor
import tlkit.run.joining  # noqa: F401  # likewise
from tlkit.cli import app
from tlkit.engine.epoch_steps import EpochSteps
from tlkit.search.study import Study

Launch = dict[str, Any]


def ending(step: int, number: int) -> object:
    """Send this process a signal after so many steps."""
    real, taken = EpochSteps._look, [0]

    def look(self: EpochSteps, *given: object, **more: object) -> bool:
        taken[0] += 1
        if taken[0] == step:
            os.kill(os.getpid(), number)
        return real(self, *given, **more)

    return mock.patch.object(EpochSteps, "_look", look)


def pruning(number: int) -> object:
    """Prune a trial, whatever its epochs came to."""
    real = Study.behind

    def behind(self: Study, trial: int, lines: Any) -> bool:
        real(self, trial, lines)
        return trial == number

    return mock.patch.object(Study, "behind", behind)


def process(launch: Launch, rank: int, port: int, output: Path) -> None:
    size = launch["size"]
    if size > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["tlkit", *launch["arguments"], *launch.get("more", {}).get(str(rank), [])]
    whom, step, signum = launch.get("end") or (None, 0, 0)
    code = 99
    try:
        if "prune" in launch:
            pruning(launch["prune"]).__enter__()
        if rank == whom:
            ending(step, signum).__enter__()
        app.main()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def carry_out(launch: Launch, output: Path) -> list[dict[str, object]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children, began = [], time.monotonic()
    for rank in range(launch["size"]):
        child = os.fork()
        if child == 0:
            process(launch, rank, port, Path(f"{output}-{rank}"))
        children.append(child)
    ended = {}
    while len(ended) < len(children):
        child, status = os.wait()
        ended[child] = os.waitstatus_to_exitcode(status), time.monotonic() - began
    texts = [[Path(f"{output}-{rank}.{name}").read_text() for name in ("out", "err")] for rank in range(len(children))]
    return [
        {"code": ended[child][0], "seconds": ended[child][1], "out": out, "err": err}
        for child, (out, err) in zip(children, texts, strict=True)
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(sys.argv[1])
    for number, each in enumerate(json.load(sys.stdin)):
        print(json.dumps(carry_out(each, Path(sys.argv[1]) / f"launch{number}")), flush=True)
