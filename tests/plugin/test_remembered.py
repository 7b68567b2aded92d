"""Small records in the cache."""

from pathlib import Path

import pytest

from tlkit.plugin import recall, remember


def test_record_that_a_killed_process_wrote_in_part_is_removed_when_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    remember({"what": "speed"}, 3)
    (record,) = (tmp_path / "measured").iterdir()
    record.rename(record.with_name(f".{record.name}.0123abcd"))
    assert recall({"what": "speed"}) is None
    remember({"what": "speed"}, 4)
    assert recall({"what": "speed"}) == 4
    assert list((tmp_path / "measured").iterdir()) == [record]
