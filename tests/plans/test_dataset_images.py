"""Images are those of the files as they are now, and are read once."""

from pathlib import Path

import numpy as np
import pytest
import tlkit_toy
from PIL import Image

from tlkit import api
from tlkit.errors import DataError, RecipeError
from tlkit.plans import dataset_facts, dataset_images, resolve
from tlkit.plans.plan import ImagesPlan
from tlkit.plugin import DataFiles, Dataset, Images, Split, registry
from tlkit.sources import data_files
from tlkit.sources.places import Places

ARRAYS = Dataset(read="test_dataset_images:read", files=("arrays.npz",), classes=2)


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
    monkeypatch.setattr(registry, "scan", lambda: registry.EntryPoints((*found.entries, mine), found.misplaced, found.broken))
    text = toy_recipe.read_text().replace('"synthetic"', '"arrays"').replace("epochs = 2", "epochs = 1")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, ""))
    return toy_recipe


def images(recipe: Path, data: Path) -> Images:
    places = Places(recipe=recipe.parent, data=data, offline=True)
    _, arms = resolve.load(recipe, [], places)
    mine = arms["main"]
    found = data_files.find_data("arrays", mine.dataset, mine.data_options, places, fetch=False)
    return dataset_images.images(mine, found)


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


# ---- groups and a data set's own parts


def people(folder: Path, parts: dict[str, range]) -> None:
    """Pictures of persons, by part: each person has one as a cat and one as a dog."""
    for part, persons in parts.items():
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for person in persons:
                Image.new("RGB", (16, 16)).save(folder / part / name / f"person{person}_{name}.png")


def counted(recipe: Path, *more: str) -> ImagesPlan:
    text = recipe.read_text()
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    recipe.write_text(
        text.replace(options, "[data.options]\npath = 'people'\ngroup = 'person[0-9]+'\n").replace('"synthetic"', '"folder"')
    )
    places = Places(recipe=recipe.parent)
    _, arms = resolve.load(recipe, more, places)
    return dataset_facts.known(arms["main"], places, seed=0, classes=None, fold=1 if arms["main"].folds else None).images


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"train": range(4), "test": range(4)},
            "4 groups have images in both train and test: person0, person1, person2, person3",
        ),
        (
            {"train": range(4), "val": range(3, 6), "test": range(6, 8)},
            "a group has images in both train and validation: person3",
        ),
        (
            {"train": range(4), "val": range(4, 6), "test": range(5, 8)},
            "a group has images in both validation and test: person5",
        ),
    ],
)
def test_group_with_images_in_two_own_parts_is_refused(toy_recipe: Path, parts: dict[str, range], words: str) -> None:
    people(toy_recipe.parent / "people", parts)
    with pytest.raises(DataError) as caught:
        counted(toy_recipe)
    assert words in str(caught.value)
    assert "data.split.fractions" in str(caught.value)


def test_groups_that_are_whole_or_divided_anew_are_taken(toy_recipe: Path) -> None:
    people(toy_recipe.parent / "people", {"train": range(6), "test": range(4, 10)})
    assert counted(toy_recipe, "data.split.fractions=[0.5, 0.0, 0.5]").test > 0
    people(toy_recipe.parent / "whole", {"train": range(6), "test": range(6, 10)})
    assert counted(toy_recipe, "data.options.path=whole").test == 8


def test_groups_of_test_images_that_a_cross_validation_does_not_use_do_not_matter(toy_recipe: Path) -> None:
    people(toy_recipe.parent / "people", {"train": range(6), "test": range(6)})
    assert counted(toy_recipe, "cross_validation.folds=2").test == 6


def test_solved_head_for_targets_of_another_task_is_refused_before_an_image_is_decoded(tmp_path: Path) -> None:
    """The files are no images: whoever decoded one would say so."""
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(b"")
    rows = [f"{index}.png,{label}" for index, label in enumerate(["a|b", "a", "b", "", "a", "a|b"])]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (tmp_path / "r.toml").write_text(
        'format = 1\nname = "r"\nbackbone = { name = "toy", weights = "none" }\nhead = { kind = "svm" }\n'
        f'data = {{ name = "csv", options = {{ path = "{tmp_path}", separator = "|" }} }}\n'
    )
    with pytest.raises(
        RecipeError, match="the svm head learns one class per image, and csv has any number of classes"
    ) as caught:
        api.apply(tmp_path / "r.toml", runs=tmp_path / "runs")
    assert 'kind = "multilabel"' in str(caught.value)
