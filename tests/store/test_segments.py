"""A file of rows and its index: which index is believed, which file is checked again, and which of its rows are good."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tlkit.store import mapping, segments
from tlkit.store.segments import Segment


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """Five rows of two numbers, without an index, and with checksums of nothing."""
    path = tmp_path / "a.rows"
    path.write_bytes(np.arange(10, dtype="<u2").tobytes())
    records = np.zeros(5, segments.RECORD)
    records["position"] = np.arange(5)
    return Segment(path, records, np.zeros(5, "<u8"))


def test_index_that_is_not_believed_says_why(segment: Segment) -> None:
    segments.write_index(segment, entry="one")
    index = segment.path.with_suffix(".index")
    whole = index.read_bytes()
    with pytest.raises(ValueError, match=r"^damaged$") as raised:
        segments.read(segment.path, entry="two")
    assert not isinstance(raised.value, segments.OtherVersion)
    for later in (b"tlkit rows 2\n\0\0\0" + whole[16:], b"tlkit rows 23\n\0\0" + bytes(88 - 16)):  # with and without rows
        index.write_bytes(later)
        with pytest.raises(segments.OtherVersion, match=r"^of another version of tlkit$"):
            segments.read(segment.path, entry="one")
    index.write_bytes(whole)
    assert np.array_equal(segments.read(segment.path, entry="one").records, segment.records)


def test_state_of_a_file_is_its_size_its_times_its_inode_and_now(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time_ns()
    state = segments.map_(segment, shape=(2,), dtype=np.dtype("<u2"))
    stat = segment.path.stat()
    assert state.dtype == np.dtype("<u8")
    assert state[:4].tolist() == [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    assert before <= int(state[4]) <= time.time_ns()
    large = SimpleNamespace(st_size=2, st_mtime_ns=3, st_ctime_ns=4, st_ino=2**64 + 2**63 + 5)  # as on Windows' ReFS
    monkeypatch.setattr(mapping, "content", lambda path: (large, memoryview(b"")))
    state = segments.map_(segment, shape=(2,), dtype=np.dtype("<u2"))
    assert state[:4].tolist() == [2, 3, 4, 2**63 + 5]


def test_file_is_trusted_that_did_not_change_and_was_old_when_it_was_checked(segment: Segment) -> None:
    old, seen = 1_000_000_000_000, 1_000_000_000_000 + 3_600_000_000_000

    def trusted(checked: list[int], now: list[int]) -> bool:
        segment.state = np.array([*checked, seen], "<u8")
        return segments.trusted(segment, np.array([*now, seen + 1], "<u8"))

    file = [20, old, old, 2**63]  # size, mtime, ctime, inode
    assert trusted(file, file)
    for number in range(4):
        assert not trusted(file, [each + (place == number) for place, each in enumerate(file)])
    for new in ([20, seen, old, 7], [20, old, seen, 7]):  # may have changed again in the same tick of the clock
        assert not trusted(new, new)


@pytest.mark.parametrize("at_once", [1, 7, 8, 4 << 20])  # rows of 4 bytes: one, one, two, or all of them at a time
def test_each_row_is_checked_by_its_checksum(at_once: int, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_AT_ONCE", at_once)
    checked: list[bytes] = []

    def crc32(row: bytes) -> int:
        checked.append(bytes(row))
        return 0 if row[0] in (0, 6, 8) else 1

    monkeypatch.setattr(segments, "zlib", SimpleNamespace(crc32=crc32))
    segments.map_(segment, shape=(2,), dtype=np.dtype("<u2"))
    assert segments.good(segment).tolist() == [True, False, False, True, True]
    assert sorted(checked) == [bytes([2 * number, 0, 2 * number + 1, 0]) for number in range(5)], "each once"
