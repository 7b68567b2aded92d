"""Who holds the lock of a run is said; a lock of a dead process is nobody's, nor is one of another machine that gives no sign."""

import errno
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tlkit import machine
from tlkit.errors import RunLocked
from tlkit.record import lock_holder, run_lock

DIES = "import os, sys; from pathlib import Path; from tlkit.record import run_lock\nwith run_lock.locked(Path(sys.argv[1])): os._exit(9)"
HERE = rf"process {os.getpid()} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs come every hundredth of a second, and half a second without one is silence."""
    monkeypatch.setattr(lock_holder, "SIGN", 0.01)
    monkeypatch.setattr(lock_holder, "SILENCE", 0.5)
    monkeypatch.setattr(lock_holder, "_LOOK", 0.02)


def changed(folder: Path, **values: object) -> None:
    """Let a holder's file tell something else."""
    record = json.loads((folder / ".holder").read_text())
    (folder / ".holder").write_text(json.dumps(record | values))


def test_process_that_holds_a_run_is_named_with_its_machine_and_since_when(tmp_path: Path) -> None:
    with run_lock.locked(tmp_path / "run"):
        with pytest.raises(RunLocked) as caught, run_lock.locked(tmp_path / "run"):
            pass
        assert re.search(rf"{HERE}\.", caught.value.problem)
        assert caught.value.exit_code == 4
        for content in (b"\xff", b"[]", b'{"host": 1}'):
            (tmp_path / "run" / ".holder").write_bytes(content)
            with pytest.raises(RunLocked, match=r"another process is running this\."), run_lock.locked(tmp_path / "run"):
                pass
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock"] == []


def test_lock_of_a_dead_process_is_taken_over_and_its_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert done.returncode == 9
    left, kept = json.loads((tmp_path / ".holder").read_text()), (tmp_path / ".holder").read_bytes()
    with run_lock.locked(tmp_path) as held:
        assert json.loads((tmp_path / ".holder").read_text())["process"] == os.getpid() != left["process"]
        assert re.fullmatch(rf"process {left['process']} on \S+ since \S+ \S+ was killed.*", held.before)
    (tmp_path / ".holder").write_bytes(kept)
    monkeypatch.setattr(machine, "killed_for_memory", lambda: left["out_of_memory"] + 2)
    with run_lock.locked(tmp_path) as held:
        assert held.before.endswith(
            "was killed; the kernel has ended 2 processes of this machine since then, because memory ran out"
        )
    changed_boot = json.loads(kept) | {"boot": "another"}
    (tmp_path / ".holder").write_text(json.dumps(changed_boot))
    with run_lock.locked(tmp_path) as held:
        assert held.before.endswith("did not end by itself: the machine was started again since then")
    with run_lock.locked(tmp_path) as held:
        assert held.before == ""


def test_what_the_kernel_says_of_memory_that_ran_out_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert (machine.killed_for_memory(), machine.boot()) == (0, "")
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    assert machine.killed_for_memory() == 3


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("seen", [True, False], ids=["a lock that is seen here", "a lock that is not"])
def test_lock_of_another_machine_without_a_sign_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, seen: bool
) -> None:
    told: list[str] = []
    with run_lock.locked(tmp_path) as first:
        monkeypatch.setattr(lock_holder, "SIGN", 3600.0)
        if not seen:
            (tmp_path / ".lock").rename(tmp_path / "elsewhere")
        time.sleep(0.05)
        changed(tmp_path, host="far")
        with run_lock.locked(tmp_path, note=told.append) as held:
            assert re.fullmatch(rf"process {os.getpid()} on far since \S+ \S+ gave no sign for 0 s", held.before)
            assert "on far since" in told[0]
            with pytest.raises(RunLocked, match=rf"{HERE} has taken this over"):
                first.refuse_lost()
            held.refuse_lost()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("clock", [lambda: None, lambda: 4e9, lambda: 1.0], ids=["now", "ahead", "behind"])
def test_another_machines_process_that_gives_signs_keeps_its_run(tmp_path: Path, clock: Callable[[], float | None]) -> None:
    """Whatever its clock says."""
    (tmp_path / ".holder").write_text(
        json.dumps({"host": "far", "process": 7, "since": clock() or time.time(), "boot": "", "out_of_memory": 0})
    )
    ended, count = threading.Event(), iter(range(10**9))

    def signs() -> None:
        while not ended.wait(0.03):
            moment = clock()
            os.utime(tmp_path / ".holder", None if moment is None else (moment, moment + next(count) / 1000))

    thread = threading.Thread(target=signs)
    thread.start()
    try:
        with pytest.raises(RunLocked, match="process 7 on far since"), run_lock.locked(tmp_path):
            pass
    finally:
        ended.set()
        thread.join()
    assert json.loads((tmp_path / ".holder").read_text())["host"] == "far"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_one_process_runs_where_the_file_system_has_no_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    with run_lock.locked(tmp_path), pytest.raises(RunLocked, match=HERE), run_lock.locked(tmp_path):
        pass
    with run_lock.locked(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_who_only_looks_whether_a_run_is_free_keeps_nobody_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `tlkit runs` does while a run is continued."""
    import fcntl

    (tmp_path / run_lock.LOCK).touch()
    with (tmp_path / run_lock.LOCK).open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: looking.close())
        with run_lock.locked(tmp_path):
            assert looking.closed


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_run_whose_killed_process_had_forked_one_that_lives_is_not_running(tmp_path: Path) -> None:
    """The lock is that of this process, as a fork inherits it; who took it has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    with run_lock.locked(tmp_path):
        holder, lock = tmp_path / run_lock.HOLDER, tmp_path / run_lock.LOCK
        os.utime(holder, (0, 0))
        assert not lock_holder.is_gone(holder, lock), "its process is there"
        ended.wait()
        changed(tmp_path, process=ended.pid)
        assert not lock_holder.is_gone(holder, lock), "it gave a sign a moment ago: its number may be one of a container"
        os.utime(holder, (0, 0))
        assert lock_holder.is_gone(holder, lock)
        with (
            pytest.raises(RunLocked, match="was killed, and a process that it had started keeps its lock"),
            run_lock.locked(tmp_path),
        ):
            pass
