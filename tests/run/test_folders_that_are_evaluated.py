"""Which data set reads a folder that a run is evaluated on, and with which options."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from tlkit import tasks
from tlkit.errors import TlkitError
from tlkit.recipe.tables import DataTable
from tlkit.run import evaluated_images
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("ants", "bees"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "1.png")
    return tmp_path


def found(folder: Path, table: DataTable, *settings: str, task: str = "single_label") -> tuple[str, list[str]]:
    notes: list[str] = []
    wanted = tasks.get(task).targets
    try:
        source, _ = evaluated_images._found(str(folder), settings, table, wanted, Places(recipe=folder), notes.append)
    except TlkitError as error:
        return str(error), notes
    return source.name, notes


def test_sub_folders_per_class_are_read_without_the_splits_of_the_run_s_folder(photos: Path) -> None:
    table = DataTable(name="folder", options={"path": "elsewhere", "splits": {"first": "train", "second": "test"}})
    assert found(photos, table) == ("folder", [])


def test_a_note_names_the_data_set_whose_error_is_told(photos: Path) -> None:
    table = DataTable(name="csv", options={"path": "elsewhere"})
    assert found(photos, table) == ("folder", [])
    said, notes = found(photos, table, "data.options.splitz=1")
    assert ('did you mean "splits"?' in said, notes) == (True, [])
    (photos / "clips").mkdir()
    said, notes = found(photos / "clips", table)
    assert ("labels.csv" in said, ["read as csv" in each for each in notes]) == (True, [True])
    assert "where another data set reads it: " in said


def test_a_folder_with_the_table_of_the_recipe_is_read_by_it(photos: Path) -> None:
    (photos / "mine.csv").write_text("path,label\nants/1.png,ants\nbees/1.png,bees\n")
    assert found(photos, DataTable(name="csv", options={"path": "elsewhere"}))[0] == "folder"
    name, notes = found(photos, DataTable(name="csv", options={"path": "elsewhere", "file": "mine.csv"}))
    assert (name, ["read as csv" in each for each in notes]) == ("csv", [True])


def test_a_table_outside_of_a_folder_is_not_of_its_images(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file, place = tmp_path_factory.mktemp("lists") / "train.csv", photos / "ants"
    file.write_text("path,label\n1.png,ants\n")
    options = {"path": "elsewhere", "file": str(file), "separator": "/"}
    said, _ = found(place, DataTable(name="csv", options=options), task="multi_label")
    assert f"data.options.file of the run's recipe, {file}, is of the images that it was trained on." in said
    again = f"data.options.file={file}"
    assert found(place, DataTable(name="csv", options=options), again, task="multi_label")[0] == "csv"
    assert found(place, DataTable(name="csv", options=options | {"path": str(place)}), task="multi_label")[0] == "csv"
    folder = DataTable(name="coco", options={"path": "elsewhere", "images": str(file.parent)})
    assert "data.options.images=PATH" in found(place, folder, task="anchor_detection")[0], "a folder, too"


def test_a_class_that_no_image_of_several_has_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of another hospital, which looked for some of the findings."""
    for name in ("_was_trained_on", "_trained_on"):
        monkeypatch.setattr(evaluated_images, name, lambda *_: None)
    (photos / "labels.csv").write_text("path,label\nants/1.png,ants|old\nbees/1.png,bees\n")
    network = SimpleNamespace(task=tasks.get("multi_label"))
    notes: list[str] = []
    settings = [f"data.options.path={photos}", "data.options.separator='|'", "data.options.test_fraction=0"]
    for classes in (("ants", "bees", "old"), ("ants", "bees", "old", "young")):
        predictor = cast(Predictor, SimpleNamespace(network=network, classes=classes))
        places = Places(recipe=photos)
        evaluated_images.find(predictor, photos, DataTable(name="csv"), "csv", settings, places=places, note=notes.append)
    assert ["no image is labelled young" in note for note in notes] == [True]
