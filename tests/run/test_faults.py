"""A fault at each change of a file: the next apply gives the bits of a run that nothing disturbed, and nothing of it is left over."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def faults(kind: str, recipe: Path) -> list[dict]:
    """Make a fault of a kind at each change of a file; see tests/toy_faults.py."""
    folder = recipe.parent / kind
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(TESTS / "toy_faults.py"), kind, str(recipe), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "toy")])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(each["change"].startswith("replace") for each in found) > 20
    return found


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, so that imports are paid once")
def test_killed_at_each_rename_of_a_file_a_run_ends_with_the_same_bits(toy_recipe: Path) -> None:
    found = faults("kill", toy_recipe)
    assert {each["ended"] for each in found} == {"killed"}
    assert [each for each in found if each["after"] or each["differing"] or each["left"]] == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, so that imports are paid once")
def test_failing_write_is_a_message_and_the_next_apply_ends_with_the_same_bits(toy_recipe: Path) -> None:
    found = faults("fail", toy_recipe)
    assert {each["ended"] for each in found} <= {"message", ""}  # "": only the store failed, and the run went on without it
    assert [each["said"] for each in found if each["ended"] and "cannot be written" not in each["said"]] == []
    assert [each for each in found if each["after"] or each["differing"] or each["left"]] == []
