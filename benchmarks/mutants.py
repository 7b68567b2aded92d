"""Mutation testing of a module by its own tests: which changes of its code no test sees.

    python -m benchmarks.mutants plans/schedule tests/plans/test_schedule.py     # goes on where it was stopped

mutmut makes the mutants. `mutmut run` tries each on every test that passes through its function, thousands for a function that each training step
calls, in no order; here a process that has imported and collected the module's own tests once is forked for each mutant. Results lie in
build/mutants; they count as long as the module and its tests stay as they are. Functions with a decorator have no mutants.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
_OPTIONS = (
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:benchmark",
    "-o",
    "addopts=",
    "-m",
    "not slow and not cuda",
    "--tb=no",
)
_FAILED = 1  # pytest's exit code where a test failed; all others but 0 say that it could not try
_Results = dict[str, int]  # of each mutant, pytest's exit code, negative where it was killed


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of a module that were not tried before; exit code 1 where its tests fail without a change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("module", help='below tlkit, "plans/schedule"')
    parser.add_argument("tests", nargs="+", help="its own tests")
    options = parser.parse_args(arguments)
    name, file = f"tlkit.{options.module.replace('/', '.')}", f"tlkit/{options.module}.py"
    tree, record = BUILD / name / "tree", BUILD / name / "results.json"
    mutants = _prepare(tree, file, name)
    tried = content([file, *options.tests])
    results = recall(record, tried)
    os.chdir(tree)
    sys.path[:0] = [str(tree), str(tree / "plugins")]
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test("")
    if pytest.main([*_OPTIONS, *options.tests]):  # and everything is imported
        print(f"{name}: its tests fail without a change")
        return 1
    began = time.monotonic()
    if _tested("", options.tests, seconds=3600):
        print(f"{name}: its tests fail without a change where they run a second time in a process")
        return 1
    limit = 30 + int(20 * (time.monotonic() - began))
    for mutant in mutants:
        if mutant not in results:
            results[mutant] = _tested(mutant, options.tests, seconds=limit)
            record.write_text(json.dumps({"of": tried, "codes": results}, indent=1))
    print(summary(name, results))
    return 0


def content(paths: Sequence[str]) -> str:
    """Return a digest of a module and its tests, files or folders below the root."""
    found = [ROOT / each.partition("::")[0] for each in paths]
    files = [file for path in found for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def recall(record: Path, tried: str) -> _Results:
    """Return the results in a file; none where they are of another module or of other tests, as `content` says."""
    if not record.is_file():
        return {}
    found = json.loads(record.read_text())
    return found["codes"] if found.get("of") == tried else {}


def summary(name: str, results: _Results) -> str:
    """Return how many mutants the tests killed, which they did not, and on which they could not be tried."""
    survivors = [mutant for mutant, code in results.items() if code == 0]
    untried = [f"{mutant}: pytest ended with {code}" for mutant, code in results.items() if code > _FAILED]
    killed = len(results) - len(survivors) - len(untried)
    return "\n  ".join([f"{name}: {killed} of {len(results)} killed", *survivors, *untried])


def _prepare(tree: Path, file: str, name: str) -> list[str]:
    """Copy what git knows, with every mutant in the module; return their names."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for each in listed:
        if (ROOT / each).is_file() and not each.startswith("docs/gallery"):
            (tree / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / each, tree / each)
    made = mutate_file_contents(file, (ROOT / file).read_text())
    (tree / file).write_text(made.code)
    return [f"{name}.{mutant}" for mutant in made.mutant_names]


def _tested(mutant: str, tests: Sequence[str], *, seconds: int) -> int:
    """Run tests on a mutant in a forked process; return pytest's exit code, negative where it was killed."""
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    process = os.fork()
    if process == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        set_mutant_under_test(mutant)
        signal.alarm(seconds)  # a mutant that never ends is killed, and counts as killed
        os._exit(int(pytest.main([*_OPTIONS, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
