"""Faults, power failures and kills at every change of a file and at random moments: the next apply ends with the undisturbed bits.

    make soak                                           # python -m benchmarks.soak && python -m benchmarks.faults
    python -m benchmarks.faults --kills 10 --every 20   # quicker
    python -m benchmarks.faults --only fail --every 1   # every way in which a change may fail: 1,500 faults

What is done is in tests/toy_faults.py, toy_power.py and toy_damage.py. Exit code 1 where a run differs, a message is missing, or something
is left of a dead process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import versus
from tlkit.plugin import remembered

TESTS = Path(__file__).parents[1] / "tests"
KINDS = ("moments", "kill", "fail", "power", "damage")
FAIL_EVERY = 5  # a change of a file fails in six ways: with every fifth of these faults each change fails, the ways in turn
_TOLD = 50  # faults between two lines of progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the faults and count what came of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="at random moments (50)")
    parser.add_argument(
        "--every", type=int, help=f"make only each n-th of the other faults (1; of changes that fail {FAIL_EVERY})"
    )
    parser.add_argument("--only", choices=KINDS, help="one kind of faults")
    options = parser.parse_args(arguments)
    wrong = 0
    for kind in KINDS if options.only is None else [options.only]:
        with tempfile.TemporaryDirectory() as folder:
            every = options.every or (FAIL_EVERY if kind == "fail" else 1)
            found = []
            for each in _faults(kind, Path(folder), options.kills if kind == "moments" else every):
                found.append(each)
                if len(found) % _TOLD == 0:
                    print(f"{kind}: {len(found)} faults so far, {sum(map(is_wrong, found))} wrong", file=sys.stderr, flush=True)
        bad = [each for each in found if is_wrong(each)]
        wrong += len(bad)
        ended = ", ".join(
            f"{count} {how or 'went on'}" for how, count in Counter(each.get("ended", "killed") for each in found).items()
        )
        within = sum(any(name.count("-") == 2 for name in each.get("states", ())) for each in found)
        more = f"; {within} of them had a checkpoint within an epoch" if kind == "moments" else ""
        print(f"{kind}: {len(found)} faults ({ended}{more}), {len(bad)} wrong", flush=True)
        for each in bad:
            print(f"  {json.dumps(each)}", flush=True)
    return 1 if wrong else 0


def is_wrong(fault: dict[str, Any]) -> bool:
    """Return whether a run did not end as it should after a fault, or did not say what it could not keep."""
    if "bad" in fault:  # files that are damaged
        return bool(fault["bad"])
    said, ended = fault.get("said", ""), fault.get("ended", "killed")
    unsaid = ended == "message" and "cannot be written" not in said
    if (
        ended == ""
    ):  # who holds a lock is written for other processes, where that is possible; what was measured is measured again
        unsaid = not said and not fault["change"].endswith(".holder") and f" {remembered.FOLDER}/" not in fault["change"]
    return bool(fault["after"] or fault["differing"] or fault["left"]) or ended == "traceback" or unsaid


def _faults(kind: str, folder: Path, number: int) -> Iterator[dict[str, Any]]:
    made = ["toy_damage.py"] if kind == "damage" else ["toy_faults.py", kind]
    command = [sys.executable, str(TESTS / made[0]), *made[1:], str(folder / "toy.toml"), str(folder), str(number)]
    path = os.pathsep.join([str(TESTS), str(TESTS / "toy"), *versus.import_paths(versus.ROOT)])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # a pipe
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
