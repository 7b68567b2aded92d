"""While another process computes the rows of an entry, a signal still stops the one that waits."""

from pathlib import Path

import pytest
from filelock import FileLock

from tlkit.errors import Interrupted
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
    assert len(said) == 1
    with filling.alone("a1", watch=stopped, note=said.append) as waited:
        assert not waited


def test_nobody_waits_where_no_lock_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    with filling.alone("a1", watch=lambda: None, note=pytest.fail) as waited:
        assert not waited
