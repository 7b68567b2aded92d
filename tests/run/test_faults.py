"""A fault at any moment: the next apply gives the bits of a run that nothing disturbed, and nothing of it is left over."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import python_path

from tlkit import api

TESTS = Path(__file__).parents[1]


def faults(kind: str, recipe: Path, number: int) -> list[dict]:
    """Make faults of a kind; see tests/toy_faults.py. `make soak` makes all of them."""
    folder = recipe.parent / kind
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(TESTS / "toy_faults.py"), kind, str(recipe), str(folder), str(number)],
        env={**os.environ, "PYTHONPATH": python_path(TESTS, TESTS / "toy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in found if each["after"] or each["differing"] or each["left"]] == []
    return found


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, so that imports are paid once")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, which says what an open file is called")
def test_files_are_synced_before_they_are_renamed_and_folders_after(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every file of a run, its checkpoints and the store."""
    calls: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        calls.append(("rename", Path(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setenv("TLKIT_CACHE", str(toy_recipe.parent / "cache"))
    api.apply(toy_recipe, ["freeze.backbone=true"], runs=toy_recipe.parent / "runs", checkpoint_every=1e-6)
    renames = [(at, path) for at, (what, path) in enumerate(calls) if what == "rename"]
    assert {path.suffix for _, path in renames} >= {".part"}, "rows too"
    assert len(renames) > 20
    assert [path for at, path in renames if ("sync", path) not in calls[:at]] == []
    assert [path for at, path in renames if ("sync", path.parent) not in calls[at:]] == []


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
    unsaid = [each["change"] for each in found if not each["said"]]
    unsaid = [change for change in unsaid if not change.endswith(".holder") and " measured/" not in change]
    assert unsaid == [], "what is not kept is said, but for what takes seconds to measure again"
    assert len(found) > 20


@pytest.mark.slow
@needs_fork
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, which says what an open file is called")
def test_after_a_power_failure_at_any_call_a_run_ends_with_the_same_bits_and_no_saved_step_is_lost(toy_recipe: Path) -> None:
    """Of what was not synced, names and bytes are gone, or bytes alone: the calls are replayed without them."""
    found = faults("power", toy_recipe, 45)
    assert {each["how"] for each in found} == {"kept", "names"}
    assert len(found) > 3


@pytest.mark.slow
@needs_fork
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(toy_recipe: Path) -> None:
    """In the middle of epochs, with phases, accumulation, mixing, a running mean, early stopping, stored and computed prefixes."""
    assert len(faults("moments", toy_recipe, 6)) == 6
