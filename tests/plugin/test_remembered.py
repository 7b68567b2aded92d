"""Small records in the cache."""

import os
import time
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


def test_what_is_left_of_other_records_is_removed_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    folder = tmp_path / "measured"
    folder.mkdir()
    for name, age in ((".old.json.0123abcd", 3700), (".new.json.0123abcd", 60)):
        (folder / name).write_bytes(b"{")
        os.utime(folder / name, (time.time() - age,) * 2)
    remember({"what": "speed"}, 3)
    assert sorted(path.name for path in folder.glob(".*")) == [".new.json.0123abcd"]
