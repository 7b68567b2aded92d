"""What is known of the images is known of the files as they are now."""

from pathlib import Path

import numpy as np
import pytest
import tlkit_toy

from tlkit import api
from tlkit.plans import dataset_facts, resolve
from tlkit.plugin import DataFiles, Dataset, Images, Split, registry
from tlkit.sources import data_files
from tlkit.sources.places import Places

ARRAYS = Dataset(read="test_dataset_facts:read", files=("arrays.npz",), classes=2)


def read(found: DataFiles, options: None) -> Images:
    arrays = np.load(found.files[0])
    half = len(arrays["y"]) // 2
    parts = {"train": slice(None, half), "test": slice(half, None)}
    return Images(("a", "b"), {name: Split(arrays["y"][part], pixels=arrays["x"][part]) for name, part in parts.items()})


def put(folder: Path, seed: int) -> np.ndarray:
    """Write other pictures and labels into a file of the same size; return the pictures."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "arrays.npz", x=x, y=(np.arange(80) + seed) % 2)
    return x


@pytest.fixture
def recipe(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy recipe on a file of arrays, from a plugin of its own."""
    monkeypatch.setattr(tlkit_toy, "arrays", ARRAYS, raising=False)
    found = registry.scan()
    mine = registry.Entry("tlkit.datasets", "arrays", "tlkit_toy:arrays", "tlkit-toy", "1.0")
    monkeypatch.setattr(registry, "scan", lambda: registry.EntryPoints((*found.entries, mine), found.broken))
    text = toy_recipe.read_text().replace('"synthetic"', '"arrays"').replace("epochs = 2", "epochs = 1")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, ""))
    return toy_recipe


def images(recipe: Path, data: Path) -> Images:
    places = Places(recipe=recipe.parent, data=data, offline=True)
    _, arms = resolve.load(recipe, [], places)
    mine = arms["main"]
    found = data_files.find_data("arrays", mine.dataset, mine.data_options, places, fetch=False)
    return dataset_facts.images(mine.dataset, found, mine)


def test_a_replaced_file_is_read_again_in_the_same_process(recipe: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        pictures = put(tmp_path / "data", seed)
        assert np.array_equal(images(recipe, tmp_path / "data").splits["train"].pixels, pictures[:40])


def test_a_file_that_did_not_change_is_read_once(recipe: Path, tmp_path: Path) -> None:
    put(tmp_path / "data", 0)
    assert images(recipe, tmp_path / "data") is images(recipe, tmp_path / "data")


def test_images_of_no_more_than_three_data_sets_are_held(recipe: Path, tmp_path: Path) -> None:
    for seed in range(4):
        put(tmp_path / f"data{seed}", seed)
    held = [images(recipe, tmp_path / f"data{seed}") for seed in (0, 1, 2, 3, 0)]
    assert held[0] is not held[4]
    assert images(recipe, tmp_path / "data3") is held[3]


def test_a_run_has_seen_the_data_that_its_digest_says(recipe: Path, tmp_path: Path) -> None:
    weights = []
    for seed in (0, 1):
        put(tmp_path / "data", seed)
        applied = api.apply(recipe, runs=tmp_path / "runs", data=tmp_path / "data")
        run = applied.folder / applied.result["arms"]["main"]["seeds"]["0"]["folder"]
        weights.append((run / "weights.safetensors").read_bytes())
    assert weights[0] != weights[1]
