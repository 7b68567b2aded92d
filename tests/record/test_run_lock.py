"""Who holds the lock of a run is said, and a lock of a dead process is nobody's."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tlkit.errors import RunLocked
from tlkit.record import run_lock

DIES = "import os, sys; from pathlib import Path; from tlkit.record import run_lock\nwith run_lock.locked(Path(sys.argv[1])): os._exit(9)"


def test_process_that_holds_a_run_is_named_with_its_machine_and_since_when(tmp_path: Path) -> None:
    with run_lock.locked(tmp_path / "run"):
        with pytest.raises(RunLocked) as caught, run_lock.locked(tmp_path / "run"):
            pass
        said = rf"process {os.getpid()} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\."
        assert re.search(said, caught.value.problem)
        assert caught.value.exit_code == 4
        (tmp_path / "run" / ".holder").write_bytes(b"\xff")
        with pytest.raises(RunLocked, match=r"another process is running this\."), run_lock.locked(tmp_path / "run"):
            pass
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock"] == []


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert done.returncode == 9
    with run_lock.locked(tmp_path):
        assert (tmp_path / ".holder").read_text().split()[1] == str(os.getpid())
