"""Files in memory: their bytes, each file once, and nothing left open."""

import errno
import os
import weakref
from pathlib import Path

import pytest

from tlkit.store import mapping


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (found := tmp_path / "rows").write_bytes(b"content")
    return found


def test_content_of_a_file_stays_when_the_file_is_gone(path: Path) -> None:
    expected, before = path.stat(), len(os.listdir("/dev/fd"))
    state, content = mapping.content(path)
    path.unlink()
    assert (state.st_ino, state.st_size) == (expected.st_ino, 7)
    assert bytes(content) == b"content"
    assert content.readonly
    assert len(os.listdir("/dev/fd")) == before
    with pytest.raises(FileNotFoundError):
        mapping.content(path)


def test_empty_file_has_no_bytes(path: Path) -> None:
    path.write_bytes(b"")
    state, content = mapping.content(path)
    assert (state.st_size, bytes(content)) == (0, b"")


def test_file_is_mapped_once_until_it_is_another(path: Path) -> None:
    _, first = mapping.content(path)
    assert mapping.content(path)[1].obj is first.obj
    os.utime(path, ns=(0, 1))
    _, touched = mapping.content(path)
    with path.open("ab") as file:
        file.write(b" and more")
    os.utime(path, ns=(0, 1))
    _, longer = mapping.content(path)
    (other := path.with_name("other")).write_bytes(b"another content!")
    os.utime(other, ns=(0, 1))
    other.replace(path)
    _, replaced = mapping.content(path)
    assert len({id(each.obj) for each in (first, touched, longer, replaced)}) == 4
    assert [bytes(each) for each in (longer, replaced)] == [b"content and more", b"another content!"]


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="shown by Linux alone")
def test_mapping_ends_with_the_last_reader(path: Path) -> None:
    _, content = mapping.content(path)
    assert str(path) in Path("/proc/self/maps").read_text()
    del content
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_mapping_is_not_taken_away_from_what_still_reads_at_the_end_of_the_process(path: Path) -> None:
    _, content = mapping.content(path)
    (ours,) = [each for each in weakref.finalize._registry if (found := each.peek()) and found[0] is content.obj]
    assert ours.atexit is False


def test_what_cannot_be_mapped_is_the_error_of_the_system() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        mapping._map(-1, 10)
    assert caught.value.errno == errno.EBADF
