"""Tests that need a GPU and that no GPU has run yet, or not since what they test was changed; each file in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = (
    "tests/run/test_cuda_memory.py", "tests/run/test_cuda_tasks.py", "tests/engine/test_augment.py", "tests/run/test_cuda_runs.py",
    "tests/engine/test_cuda.py", "tests/engine/test_cuda_networks.py",
)  # fmt: skip

_KEPT = 8000  # characters of what they print


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
        TimeoutError: they did not end within the limit, in seconds; behind the first line is what they printed until then.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-v", "-m", "cuda", "-p", "no:cacheprovider", file]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )  # fmt: skip
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # and what a test started, which would go on beside the next measurement
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        said = out.read().decode(errors="replace").strip()
    if code is None:
        raise TimeoutError(f"{file} did not end within {limit:.0f} s\n{said[-_KEPT:]}")
    outcome = said.splitlines()[-1] if said else f"code {code}"
    return Row(file, code == 0, outcome, said[-_KEPT:] if code else "", time.perf_counter() - began)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each file."""
    return "\n".join(f"{row.file:40} {row.outcome}" for row in rows)
