"""The tests that need a GPU, all together on several processes where pytest-xdist is installed; the outcome of each file apart.

The rule: `outcomes` writes a line when tests are collected and when one ends, so that what ended before the time was over is known.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.cuda.outcomes import FILE

ROOT = Path(__file__).parents[2]
# First what no GPU has run since it was changed.
FILES = (
    "tests/run/test_cuda_memory.py", "tests/run/test_cuda_tasks.py", "tests/engine/test_augment.py", "tests/run/test_cuda_runs.py",
    "tests/engine/test_cuda.py", "tests/engine/test_cuda_networks.py", "tests/engine/test_mix.py", "tests/network/test_seeding.py",
    "tests/run/test_processes.py",
)  # fmt: skip
_KEPT = 8000  # characters of what pytest prints
_OF_A_TEST = 2500  # of what it says of a test that failed
_PROCESSES = (
    12  # at most, of which each has imports and a context of its own: 10 of them ran them all in 132 s on 16 processors
)


@dataclass(frozen=True)
class Row:
    """What the tests of a file came to.

    Attributes:
        file: Below the root.
        passed: Whether all passed that were not skipped.
        outcome: How many of them, and the reasons of those that were skipped.
        said: What pytest says of each that failed, by name.
        seconds: Of its tests together; several run at a time.
        longest: The seconds of those that took longest.
    """

    file: str
    passed: bool
    outcome: str
    said: dict[str, str]
    seconds: float
    longest: dict[str, float]


class Session:
    """One call of pytest for files of tests, when the first of them is asked for.

    Args:
        files: Below the root.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._lines: list[dict[str, Any]] | None = None
        self._said, self._over = "", ""

    def measure(self, file: str, *, limit: float) -> Row:
        """Return what the tests of a file that are marked cuda came to.

        Raises:
            TimeoutError: they did not end within the limit of the first call, in seconds, and none failed until then.
            RuntimeError: pytest could not run them.
        """
        if self._lines is None:
            self._run(limit)
        assert self._lines is not None
        tests = {name for line in self._lines for name in line.get("tests", ()) if name.startswith(f"{file}::")}
        ended = {line["test"]: line for line in self._lines if line.get("test") in tests}
        row, left = _row(file, list(ended.values())), sorted(tests - ended.keys())
        if not row.said and self._over and (left or not tests):
            said = [row.outcome, "not ended:", *left] if tests else [self._said]
            raise TimeoutError("\n".join([f"{file} {self._over}", *said]))
        if not tests:
            raise RuntimeError(f"{file}: no test was collected\n{self._said}")
        return replace(row, passed=row.passed and not left, outcome=row.outcome + (f", {len(left)} not ended" if left else ""))

    def _run(self, limit: float) -> None:
        processes = min(_PROCESSES, os.cpu_count() or 1) if find_spec("xdist") is not None else 1
        parallel = ["-n", str(processes)] if processes > 1 else []
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
            log = Path(folder) / "log.jsonl"
            command = [
                sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "-p", "benchmarks.cuda.outcomes",
                "--basetemp", str(Path(folder) / "tests"), *parallel, *self._files,
            ]  # fmt: skip
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, FILE: str(log)}
            )  # fmt: skip
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                self._over = f"did not end within {limit:.0f} s"
            finally:
                _end(process)
            out.seek(0)
            self._said = out.read().decode(errors="replace").strip()[-_KEPT:]
            lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        self._lines = [json.loads(line) for line in lines if line.endswith("}")]  # the last one may be cut off


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with its session, and what a test started, which would go on beside the next measurement."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _row(file: str, ended: Sequence[dict[str, Any]]) -> Row:
    counts = {outcome: sum(line["outcome"] == outcome for line in ended) for outcome in ("passed", "failed", "skipped")}
    why = "; ".join(sorted({line["why"] for line in ended if line["outcome"] == "skipped"}))
    outcome = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    said = {line["test"]: line["why"][-_OF_A_TEST:] for line in ended if line["outcome"] == "failed"}
    longest = {
        line["test"].partition("::")[2]: line["seconds"] for line in sorted(ended, key=lambda line: -line["seconds"])[:3]
    }
    seconds = sum(line["seconds"] for line in ended)
    return Row(file, bool(ended) and not said, f"{outcome} ({why})" if why else outcome, said, seconds, longest)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each file."""
    return "\n".join(f"{row.file:40} {row.outcome}, {row.seconds:.0f} s together" for row in rows)
