"""Pictures that a data set lists in a file are part of a run's digest, as those that it was found by."""

from pathlib import Path

import numpy as np
import pytest
import tlkit_toy
from PIL import Image

from tlkit import api, testing
from tlkit.plans import jobs, resolve
from tlkit.plugin import DataFiles, Dataset, Images, Split, registry
from tlkit.sources import datasets
from tlkit.sources.places import Places

LISTED = Dataset(read="test_listed_files:read", files=("list.txt",), classes=2)


def read(found: DataFiles, options: None) -> Images:
    rows = [line.split() for line in found.files[0].read_text().splitlines()]
    labels = np.array([int(label) for _, label in rows], np.int64)
    return Images(("a", "b"), {"train": Split(labels, files=tuple(found.root / name for name, _ in rows))})


@pytest.fixture
def recipe(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe on pictures that data/list.txt names, from a plugin of its own."""
    monkeypatch.setattr(tlkit_toy, "listed", LISTED, raising=False)
    entries = registry.scan()
    mine = registry.Entry("tlkit.datasets", "listed", "tlkit_toy:listed", "tlkit-toy", "1.0")
    monkeypatch.setattr(
        registry, "scan", lambda: registry.EntryPoints((*entries.entries, mine), entries.misplaced, entries.broken)
    )
    folder = toy_recipe.parent / "data"
    folder.mkdir()
    for index in range(8):
        paint(folder / f"{index}.png", index)
    (folder / "list.txt").write_text("".join(f"{index}.png {index % 2}\n" for index in range(8)))
    text = toy_recipe.read_text().replace('"synthetic"', '"listed"').replace("epochs = 2", "epochs = 1")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, ""))
    return toy_recipe


def paint(file: Path, shade: int) -> None:
    Image.new("RGB", (16, 16), (20 * shade, 0, 0)).save(file)


def digest(recipe: Path, *, again: bool = False) -> str:
    places = Places(recipe=recipe.parent, data=recipe.parent / "data")
    read, arms = resolve.load(recipe, [], places)
    (job,) = jobs.plan_jobs(read, arms, places, runs=Path("runs"), where="", again=again)
    return job.digest


def test_changed_picture_of_a_list_is_another_run(recipe: Path) -> None:
    runs, data = recipe.parent / "runs", recipe.parent / "data"
    assert api.apply(recipe, runs=runs, data=data).changed
    assert not api.apply(recipe, runs=runs, data=data).changed
    paint(data / "3.png", 11)
    again = api.apply(recipe, runs=runs, data=data)
    assert again.changed
    assert len(again.result["superseded"]) == 1


def test_list_is_read_once_as_long_as_it_does_not_change(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest(recipe)
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_data", lambda *_: pytest.fail("was read again"))
        assert digest(recipe) == first
        assert digest(recipe, again=True) == first
    (recipe.parent / "data" / "list.txt").write_text("0.png 0\n1.png 1\n2.png 0\n3.png 1\n")
    assert digest(recipe) != first


def test_digest_of_a_set_that_names_all_its_files_does_not_change(toy_recipe: Path) -> None:
    places = Places(recipe=toy_recipe.parent)
    read, arms = resolve.load(toy_recipe, [], places)
    assert [list(job.inputs) for job in jobs.plan_jobs(read, arms, places, runs=Path("runs"), where="")] == [["data"]]


def test_check_says_that_listed_pictures_count(recipe: Path) -> None:
    lines = list(testing.check("listed", data=recipe.parent / "data"))
    assert "lists 8 images beside its files: their content is in the digest of a run" in lines
