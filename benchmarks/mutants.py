"""Mutation testing of a module by its own tests: which changes of its code no test sees.

    python -m benchmarks.mutants plans/schedule tests/plans/test_schedule.py     # goes on where it was stopped

mutmut makes the mutants. `mutmut run` tries each on every test that passes through its function, thousands for a function that each training step
calls, in no order; here a process that has imported and collected the module's own tests once is forked for each mutant. Results lie in
build/mutants. Functions with a decorator have no mutants.
"""

from __future__ import annotations

import argparse
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of a module that were not tried before; exit code 1 where its tests fail without a change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("module", help='below tlkit, "plans/schedule"')
    parser.add_argument("tests", nargs="+", help="its own tests")
    options = parser.parse_args(arguments)
    name, file = f"tlkit.{options.module.replace('/', '.')}", f"tlkit/{options.module}.py"
    tree, record = BUILD / name / "tree", BUILD / name / "results.json"
    mutants = _prepare(tree, file, name)
    results = json.loads(record.read_text()) if record.is_file() else {}
    results = {mutant: code for mutant, code in results.items() if mutant in mutants}
    os.chdir(tree)
    sys.path[:0] = [str(tree), str(tree / "plugins")]
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test("")
    if pytest.main([*_OPTIONS, *options.tests]):  # and everything is imported
        print(f"{name}: its tests fail without a change")
        return 1
    began = time.monotonic()
    _tested("", options.tests, seconds=3600)
    limit = 30 + int(20 * (time.monotonic() - began))
    for mutant in mutants:
        if mutant not in results:
            results[mutant] = _tested(mutant, options.tests, seconds=limit)
            record.write_text(json.dumps(results, indent=1))
    survivors = [mutant for mutant, code in results.items() if code == 0]
    print(f"{name}: {len(results) - len(survivors)} of {len(results)} killed", *survivors, sep="\n  ")
    return 0


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
