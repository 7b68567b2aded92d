"""While another process computes the rows of an entry, a signal still stops the one that waits."""

import os
import re
from pathlib import Path

import pytest
from filelock import FileLock

from tlkit.errors import Interrupted
from tlkit.record import lock_holder
from tlkit.store import filling


def test_signal_stops_a_process_that_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    said: list[str] = []

    def stopped() -> None:
        raise Interrupted(15, "stopped")

    with (
        FileLock(tmp_path / ".filling-a.lock"),
        pytest.raises(Interrupted) as caught,
        filling.alone("a1", watch=stopped, note=said.append),
    ):
        pytest.fail("computes what another process computes")
    assert caught.value.exit_code == 143
    assert said == ["another process computes outputs of the same frozen stages; this one waits for them"]
    with filling.alone("a1", watch=stopped, note=said.append) as waited:
        assert not waited


def test_who_is_waited_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    said: list[str] = []

    def stopped() -> None:
        raise Interrupted(15, "stopped")

    with (
        filling.alone("a1", watch=lambda: None, note=pytest.fail),
        pytest.raises(Interrupted),
        filling.alone("a2", watch=stopped, note=said.append),
    ):
        pytest.fail("computes what another computes")
    (line,) = said
    assert re.search(rf"this one waits for them, process {os.getpid()} on \S+ since \d{{4}}-", line)
    assert [path.name for path in tmp_path.iterdir()] == [".filling-a.lock"]


def test_nobody_waits_where_no_lock_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    with filling.alone("a1", watch=lambda: None, note=pytest.fail) as waited:
        assert not waited


def test_lock_is_held_in_a_cache_whose_folders_are_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "some" / "where"))
    with filling.alone("a1", watch=lambda: None, note=pytest.fail):
        assert (tmp_path / "some" / "where" / ".filling-a.lock").exists()
        assert lock_holder.words(tmp_path / "some" / "where" / ".filling-a.holder")
