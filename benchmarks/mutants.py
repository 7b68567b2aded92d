"""Mutation testing of a module by its own tests: which changes of its code no test sees.

    python -m benchmarks.mutants plans/schedule tests/plans/test_schedule.py     # goes on where it was stopped

mutmut makes the mutants. `mutmut run` tries each on every test that passes through its function, thousands for a function that each training step
calls, in no order; here a process that has imported and collected the module's own tests once is forked for each mutant, and runs those that
call its function, the quickest first. Results lie in build/mutants; they count as long as the module and its tests stay as they are. Functions
with a decorator have no mutants.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import memory_limit

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
_OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:benchmark",
    "-o",
    "addopts=",
    "-m",
    "not slow and not cuda",
    "--tb=native",
)
# Bytes that a mutant's process may take beside what it was forked with, of which tests of engine/ and store/ take 0.5 GB. One that allocates
# without end fails, and counts as killed.
_MEMORY = 4_000_000_000
_FAILED = 1  # the exit code of a process in which a test failed; 0 where none did
_Results = dict[str, int]  # of each mutant, the exit code of its process, negative where it was killed


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of a module that were not tried before; exit code 1 where its tests fail without a change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("module", help='below tlkit, "plans/schedule"')
    parser.add_argument("tests", nargs="+", help="its own tests")
    parser.add_argument("-k", default="", metavar="WORDS", help="only some of them, as pytest selects them: 'not whatever'")
    parser.add_argument(
        "--apart",
        action="store_true",
        help="tests that make tensors of a GPU that is not there: torch refuses backward passes in their forks",
    )
    options = parser.parse_args(arguments)
    name, file = f"tlkit.{options.module.replace('/', '.')}", f"tlkit/{options.module}.py"
    tree, record = BUILD / name / "tree", BUILD / name / "results.json"
    mutants = _prepare(tree, file, name)
    tried = content([file, *options.tests]) + options.k
    trials = _Trials(mutants, recall(record, tried), lambda codes: _keep(record, tried, codes), apart=options.apart)
    os.chdir(tree)
    sys.path[:0] = [str(tree), str(tree / "plugins")]
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test("")
    if pytest.main([*_OPTIONS, "-k", options.k, *options.tests], plugins=[trials]):
        print(f"{name}: its tests fail without a change, perhaps only where they run a second time in a process")
        return 1
    print(summary(name, trials.results))
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
    """Return how many mutants the tests killed, and which they did not."""
    survivors = [mutant for mutant, code in results.items() if code == 0]
    return "\n  ".join([f"{name}: {len(results) - len(survivors)} of {len(results)} killed", *survivors])


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


def _keep(record: Path, tried: str, codes: _Results) -> None:
    record.write_text(json.dumps({"of": tried, "codes": codes}, indent=1))


class _Trials:
    """A plugin of pytest that tries each mutant on the collected tests instead of running them once."""

    def __init__(self, mutants: Sequence[str], results: _Results, keep: Callable[[_Results], None], *, apart: bool) -> None:
        self.results = results
        self._mutants, self._keep, self._apart = mutants, keep, apart

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Try each mutant without a result; the exit code of pytest says whether the tests pass without a change."""
        if session.testsfailed:
            return None  # pytest says what could not be collected
        calls = _calls_apart(session) if self._apart else _calls(session)
        if session.testsfailed:
            return True
        gc.freeze()
        began = time.monotonic()
        if _tested("", session, session.items, seconds=3600):
            session.testsfailed = 1
            return True
        limit = 30 + int(20 * (time.monotonic() - began))
        for mutant in self._mutants:
            if mutant not in self.results:
                items = [session.items[index] for index in calls.get(mutant.rpartition("__mutmut_")[0], [])]
                self.results[mutant] = _tested(mutant, session, items, seconds=limit)
                self._keep(self.results)
        return True


def _calls_apart(session: pytest.Session) -> dict[str, list[int]]:
    """Do as `_calls` in a forked process, so that this one has run no test; each mutant's process then imports what only tests import."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        found = _calls(session)
        with os.fdopen(write, "w") as file:
            json.dump(found, file)
        os._exit(_FAILED if session.testsfailed else 0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    session.testsfailed = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return {} if session.testsfailed else dict(json.loads(said))


def _calls(session: pytest.Session) -> dict[str, list[int]]:
    """Run the tests without a change, and return the places of those that call each function, the quickest first."""
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    called: dict[str, list[tuple[float, int]]] = {}
    hits: set[str] = set()
    set_mutant_under_test("stats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mutmut.mutation.trampoline.record_trampoline_hit", lambda name, caller=None: hits.add(name))
        for index in range(len(session.items)):
            hits.clear()
            began = time.process_time()
            _run(session, session.items[index : index + 2])
            for each in hits:
                called.setdefault(each, []).append((time.process_time() - began, index))
    set_mutant_under_test("")
    return {name: [index for _, index in sorted(found)] for name, found in called.items()}


def _run(session: pytest.Session, pair: Sequence[pytest.Item]) -> None:
    """Run the first of two tests, which keeps the fixtures that the second needs."""
    item, following = pair[0], pair[1] if len(pair) > 1 else None
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _tested(mutant: str, session: pytest.Session, items: Sequence[pytest.Item], *, seconds: int) -> int:
    """Run tests on a mutant in a forked process, up to the first that fails; return 0, 1, or a negative number where it was killed."""
    from mutmut.mutation.trampoline import set_mutant_under_test

    process = os.fork()
    if process == 0:
        memory_limit.set_(_MEMORY)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        set_mutant_under_test(mutant)
        signal.alarm(seconds)  # a mutant that never ends is killed, and counts as killed
        for index in range(len(items)):
            try:
                _run(session, items[index : index + 2])
            except BaseException:  # what ends pytest itself
                os._exit(_FAILED)
            if session.testsfailed:
                os._exit(_FAILED)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
