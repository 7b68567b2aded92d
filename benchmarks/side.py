"""One side of a benchmark in a process of its own, that does a round when it is told to and says how long it took.

The rule: the other side waits meanwhile, so the two take turns on the same machine, and each one's memory is its own.

    python -m benchmarks.side plain|tlkit JOB.json EPOCHS [captured]
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]


class Side:
    """The process, seen from the benchmark.

    Args:
        kind: "plain" or "tlkit".
        job: Its file.
        epochs: Of a round.
        captured: Whether steps may run as a graph.
    """

    def __init__(self, kind: str, job: Path, *, epochs: int, captured: bool = False) -> None:
        command = [sys.executable, "-m", "benchmarks.side", kind, str(job), str(epochs), *(["captured"] if captured else [])]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kind = kind
        self.rounds: list[dict[str, Any]] = []
        try:
            self._answer()
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if kind is not None:
            self._process.kill()  # in the middle of a round it would not see that its input has ended
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def round(self) -> dict[str, Any]:
        """Do one round; return what it says of it."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(self._answer())
        return self.rounds[-1]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.kind} side of the benchmark ended with code {self._process.wait()}; see above")
        return dict(json.loads(line))


def plain_rounds(job: Mapping[str, Any], epochs: int) -> Iterator[dict[str, Any]]:
    """Yield one epoch's seconds and accuracy for each round; the first, not yielded, warms up."""
    from benchmarks.plain import Plain

    loop = Plain(job)
    loop.epoch()
    yield {}
    while True:
        began = time.perf_counter()
        accuracy = [loop.epoch() for _ in range(epochs)][-1]
        yield {"seconds": (time.perf_counter() - began) / epochs, "accuracy": accuracy}


def tlkit_rounds(job: Mapping[str, Any], epochs: int, *, captured: bool) -> Iterator[dict[str, Any]]:
    """Yield the seconds of the first and of the later epochs of one `apply` for each round.

    Nothing is stored at the beginning of a round; what is measured once per machine was measured in a run before them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        warm = Path(scratch) / "warm"
        apply(job, warm, epochs=1, captured=captured)
        yield {}
        while True:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            if (warm / "cache" / "measured").is_dir():
                shutil.copytree(warm / "cache" / "measured", folder / "cache" / "measured")
            yield apply(job, folder, epochs=epochs, captured=captured)
            shutil.rmtree(folder, ignore_errors=True)


def apply(job: Mapping[str, Any], folder: Path, *, epochs: int, captured: bool = False) -> dict[str, Any]:
    """Apply a job's recipe for its first epochs, with a cache and a run folder of its own; return how long they took."""
    import torch
    from torchmetrics.functional import classification  # noqa: F401  # imported before anything is timed

    import tlkit
    from tlkit import machine
    from tlkit.events import Epoch, Observer
    from tlkit.reports import curves  # noqa: F401  # likewise
    from tlkit.run import executor  # noqa: F401  # torch and all of tlkit are imported before anything is timed

    ends = [0.0]

    class Watch(Observer):
        def epoch(self, epoch: Epoch) -> None:
            ends.append(time.perf_counter())
            if len(ends) > epochs:
                raise _EnoughError

    os.environ["TLKIT_CACHE"] = str(folder / "cache")
    machine.keep_blocks()  # as the command line does
    ends[0] = time.perf_counter()
    try:
        failures = tlkit.apply(job["recipe"], runs=folder / "runs", offline=True, observer=Watch(), graph=captured).failures
        if failures:
            raise failures[0]
    except _EnoughError:
        pass
    (run,) = (folder / "runs").glob("*/main-s0-*")
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    later = seconds[1:] or seconds
    return {
        "first": seconds[0],
        "later": sum(later) / len(later),
        "form": json.loads((run / "plan.json").read_text()).get("compute_format", {}),
        "versions": json.loads((run / "result.json").read_text())["versions"],
        "threads": torch.get_num_threads(),
    }


class _EnoughError(Exception):
    """Enough epochs were timed."""


def main(kind: str, job: str, epochs: str, *captured: str) -> None:
    """Answer on the real stdout; what libraries print goes to stderr. Ctrl-C is for the process that started this one."""
    from benchmarks.machine import Peak

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    read = json.loads(Path(job).read_text())
    rounds = plain_rounds(read, int(epochs)) if kind == "plain" else tlkit_rounds(read, int(epochs), captured=bool(captured))
    with Peak() as peak:
        for done in rounds:
            answers.write(json.dumps(done | {"peak_anonymous": peak.bytes}) + "\n")
            answers.flush()
            if not sys.stdin.readline():
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
