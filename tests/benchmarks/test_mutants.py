"""What mutation testing says and what it remembers; the mutants themselves take minutes."""

import json
import mmap
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import mutants


def test_mutants_count_as_killed_only_where_a_test_failed_or_did_not_end() -> None:
    said = mutants.summary("m", {"a": 0, "b": 1, "c": -14})
    assert said == "m: 2 of 3 killed\n  a"


@pytest.mark.parametrize("changed", ["module.py", "tests/test_module.py"])
def test_results_are_forgotten_where_the_module_or_its_tests_changed(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    for path in ("module.py", "tests/test_module.py"):
        (tmp_path / path).write_text("1")
    paths, record = ["module.py", "tests"], tmp_path / "results.json"
    before = mutants.content(paths)
    assert mutants.recall(record, before) == {}
    record.write_text(json.dumps({"of": before, "codes": {"a": 0}}))
    assert mutants.recall(record, mutants.content(paths)) == {"a": 0}
    (tmp_path / changed).write_text("2")
    assert mutants.recall(record, mutants.content(paths)) == {}


@pytest.mark.parametrize(("size", "code"), [(50_000_000, 0), (300_000_000, 1)])
def test_a_mutant_that_takes_more_memory_than_it_may_counts_as_killed(
    size: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "_MEMORY", 100_000_000)
    monkeypatch.setattr(mutants, "_run", lambda session, items: mmap.mmap(-1, size))  # not what malloc has left over
    assert mutants._tested("", SimpleNamespace(testsfailed=0), [None], seconds=60) == code
