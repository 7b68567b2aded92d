"""A name is a data set's, unless a folder has it and the data set would need to be told a folder."""

from pathlib import Path

import pytest

from tlkit.sources import datasets


def test_a_folder_with_the_name_of_a_data_set_of_folders_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets.is_named("folder")
    assert datasets.is_named("cifar10")
    for name in ("folder", "cifar10"):
        (tmp_path / name).mkdir()
    assert not datasets.is_named("folder")
    assert datasets.is_named("cifar10")
    assert not datasets.is_named("no_such")
