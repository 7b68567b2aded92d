"""Small records in the cache."""

from pathlib import Path

import pytest

from tlkit.plugin import recall, remember


def test_record_that_a_killed_process_wrote_in_part_counts_as_none_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    remember({"what": "speed"}, [3, {"a": 1.5}])
    (record,) = (tmp_path / "measured").iterdir()
    whole = record.read_bytes()
    for length in range(len(whole)):
        record.write_bytes(whole[:length])
        assert recall({"what": "speed"}) is None
    remember({"what": "speed"}, 4)
    assert recall({"what": "speed"}) == 4
    assert list((tmp_path / "measured").iterdir()) == [record]
