"""A fault at any moment: the next apply gives the bits of a run that nothing disturbed, and nothing of it is left over."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def faults(kind: str, recipe: Path, number: int) -> list[dict]:
    """Make faults of a kind; see tests/toy_faults.py. `make soak` makes all of them."""
    folder = recipe.parent / kind
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(TESTS / "toy_faults.py"), kind, str(recipe), str(folder), str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "toy")])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in found if each["after"] or each["differing"] or each["left"]] == []
    return found


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, so that imports are paid once")


@pytest.mark.slow
@needs_fork
def test_killed_at_any_change_of_a_file_a_run_ends_with_the_same_bits(toy_recipe: Path) -> None:
    found = faults("kill", toy_recipe, 11)
    assert {each["ended"] for each in found} == {"killed"}
    assert len(found) > 20


@pytest.mark.slow
@needs_fork
def test_failing_write_is_a_message_and_the_next_apply_ends_with_the_same_bits(toy_recipe: Path) -> None:
    found = faults("fail", toy_recipe, 49)
    assert {each["ended"] for each in found} <= {
        "message",
        "",
    }  # "": only what is not needed failed, and the run went on without it
    assert [each["said"] for each in found if each["ended"] and "cannot be written" not in each["said"]] == []
    assert len(found) > 20


@needs_fork
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(toy_recipe: Path) -> None:
    """In the middle of epochs, with phases, accumulation, mixing, a running mean, early stopping, stored and computed prefixes."""
    assert len(faults("moments", toy_recipe, 6)) == 6
