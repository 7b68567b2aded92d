"""A file that is being written is told from one that a dead process left."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from tlkit.store import unfinished


def handles() -> int:
    return len(os.listdir("/dev/fd"))


def test_file_is_abandoned_when_its_writer_closed_it_or_never_locked_it(tmp_path: Path) -> None:
    path, before = tmp_path / "a.part", handles()
    with path.open("wb", buffering=0) as file, path.open("ab", buffering=0) as second:
        assert unfinished.abandoned(path)
        unfinished.hold(file)
        unfinished.hold(second)  # is refused the lock in silence, at once
        assert not unfinished.abandoned(path)
    assert unfinished.abandoned(path)
    assert not unfinished.abandoned(tmp_path / "gone.part"), "what is not there needs no removing"
    assert handles() == before


def test_where_nothing_can_be_locked_no_file_counts_as_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "a.part").touch()

    def refused(handle: int, operation: int) -> None:
        raise OSError("no locks available")

    before = handles()
    for name, value in (("flock", refused), ("", None)):
        monkeypatch.setattr(fcntl if name else unfinished, name or "fcntl", value)
        with path.open("ab", buffering=0) as file:
            unfinished.hold(file)
        assert not unfinished.abandoned(path)
    assert handles() == before
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)) as caught:
        unfinished.lock(0)
    assert caught.value.errno == errno.ENOSYS, "which tells it from a lock that another process holds"
