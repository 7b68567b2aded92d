"""Tests that need a GPU and that no GPU has run yet, or not since what they test was changed; each file in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = (
    "tests/run/test_cuda_memory.py", "tests/run/test_cuda_tasks.py", "tests/engine/test_augment.py", "tests/run/test_cuda_runs.py",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What the tests of a file came to.

    Attributes:
        file: Below the root.
        passed: Whether all passed that were not skipped.
        outcome: pytest's last line.
        said: What it printed, where not all passed.
        seconds: Of the process.
    """

    file: str
    passed: bool
    outcome: str
    said: str
    seconds: float


def measure(file: str, *, limit: float) -> Row:
    """Run the tests of a file that are marked cuda.

    Raises:
        TimeoutError: they did not end within the limit, in seconds.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", file]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{file} did not end within {limit:.0f} s") from error
    outcome = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    passed = done.returncode == 0
    return Row(file, passed, outcome, "" if passed else (done.stdout + done.stderr)[-8000:], time.perf_counter() - began)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each file."""
    return "\n".join(f"{row.file:40} {row.outcome}" for row in rows)
