"""Images that are trained on and evaluated: counted, said with every result, refused or left out of training."""

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from PIL import Image
from toy_training import training

import tlkit
from tlkit.errors import DataError
from tlkit.plans import overlap
from tlkit.plans.overlap import Content

RECIPE = """\
format = 1
name = "toy"
[backbone]
name = "toy"
weights = "none"
[data]
name = "folder"
image_size = 16
batch_size = 8
augment = ["random_crop"]
[data.options]
path = "photos"
[data.split]
validation = 0.0
[lr_groups]
backbone = 1e-2
head = 1e-2
[schedule]
epochs = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Ten training and five test images of each of two classes, no two of them the same."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 5)):
        for name in ("dark", "light"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{number}.png")
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE)
    return path


def copied(recipe: Path, count: int, suffix: str = "png") -> None:
    """Make test images copies of training images: their files, or their pixels in another format."""
    photos = recipe.parent / "photos"
    for number in range(count):
        name = "dark" if number % 2 else "light"
        source, target = photos / "train" / name / f"{number}.png", photos / "test" / name / f"{number // 2}.png"
        if suffix == "png":
            shutil.copy(source, target)
        else:
            target.unlink()
            Image.open(source).save(target.with_suffix(f".{suffix}"))


def test_where_no_image_is_in_two_parts_nothing_is_said(recipe: Path) -> None:
    prepared = training(recipe).prepared
    assert prepared.plan.warnings == ()
    assert prepared.split["overlap"] == prepared.split["dropped"] == []


def test_a_run_that_waits_keeps_the_positions_of_its_images_as_arrays(recipe: Path) -> None:
    prepared = training(recipe, "data.split.validation=0.35").prepared  # 12 training, 8 validation, 10 test images
    gc.collect()
    lists = [each for each in gc.get_objects() if type(each) is list and each and all(type(number) is int for number in each)]
    parts = {"train": prepared.train.indices, **{name: part.indices for name, part in prepared.evaluated.parts.items()}}
    assert {name: len(each) for name, each in parts.items()} == {"train": 12, "validation": 8, "test": 10}
    assert not [each for each in parts.values() if each.tolist() in lists]
    assert all(list(prepared.split[name]["positions"]) == each.tolist() for name, each in parts.items())


def test_test_files_that_are_training_files_are_said_with_plan_and_result(recipe: Path, run: Cli) -> None:
    copied(recipe, 10)
    said = "overlap: 10 of 10 test images are identical to training images"
    code, out, error = run("plan", recipe)
    assert code == 0, error
    assert said in " ".join(out.split())
    stops = "; apply stops at them"
    for on_overlap, does in (("error", stops), ("drop", "; apply leaves such images out of train")):
        (plan,) = tlkit.plan(recipe, [f"data.on_overlap={on_overlap}"]).values()
        assert [line.startswith(said) and line.endswith(f".png){does}") for line in plan.warnings] == [True]
    code, out, error = run("apply", recipe)
    assert code == 0, error
    assert said in " ".join(out.split())
    assert said in error  # while it prepares the run, as Model.fit says it
    assert said in " ".join(run("apply", recipe)[1].split()), "the result of a run that is there already says it too"
    (folder,) = (recipe.parent / "runs" / "toy").glob("main-*")
    assert any(line.startswith(said) for line in json.loads((folder / "result.json").read_text())["warnings"])
    (found,) = json.loads((folder / "split.json").read_text())["overlap"]
    assert (found["first"], found["second"], found["count"], found["total"]) == ("train", "test", 10, 10)
    assert [Path(file).parent.name for file in found["example"]] == ["dark", "dark"]


def test_the_same_pixels_in_another_file_are_found_when_they_are_decoded(recipe: Path) -> None:
    """Training pictures of a random crop have another size than those of evaluation."""
    copied(recipe, 4, "bmp")
    prepared = training(recipe).prepared
    assert [line for line in prepared.plan.warnings if line.startswith("overlap: 4 of 10 test images are identical")]
    again = training(recipe).prepared  # from the store
    assert again.split["overlap"] == prepared.split["overlap"]
    with pytest.raises(DataError, match="data: 4 of 10 test images are identical to training images") as caught:
        training(recipe, "data.on_overlap=error")
    assert any("data.on_overlap" in hint and "drop" in hint for hint in caught.value.hints)


def test_identical_files_are_refused_before_anything_is_decoded(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlkit.engine.images import decode

    copied(recipe, 3)
    monkeypatch.setattr(decode, "whole", lambda *_, **__: pytest.fail("an image was decoded"))
    with pytest.raises(DataError, match="3 of 10 test images are identical to training images"):
        training(recipe, "data.on_overlap=error")


def test_training_images_that_are_evaluated_are_left_out_where_that_is_said(recipe: Path) -> None:
    copied(recipe, 4, "bmp")
    copied(recipe, 2)
    prepared = training(recipe, "data.on_overlap=drop").prepared
    files = {Path(file) for file in prepared.split["train"]["files"]}
    photos = recipe.parent / "photos" / "train"
    assert not files & {photos / "light/0.png", photos / "dark/1.png", photos / "light/2.png", photos / "dark/3.png"}
    assert (prepared.plan.images.train, prepared.plan.images.test) == (16, 12)
    assert len(prepared.split["dropped"]) == 4
    assert prepared.plan.warnings == (
        "4 images are left out of training and validation: identical to images that are evaluated",
    )


def test_validation_images_that_are_tested_are_left_out_where_they_are_training_images(recipe: Path) -> None:
    copied(recipe, 10)
    settings = ("data.split.validation=0.5", "early_stopping.patience=3")
    plain = training(recipe, *settings).prepared
    pairs = {(each["first"], each["second"]): each["count"] for each in plain.split["overlap"]}
    assert pairs["train", "test"] + pairs["validation", "test"] == 10
    assert all("leaves out such training images" in line for line in plain.plan.warnings if line.startswith("overlap"))
    prepared = training(recipe, *settings, "data.on_overlap=drop").prepared
    counts = prepared.plan.images
    assert (counts.train, counts.validation) == (10 - pairs["train", "test"], 10 - pairs["validation", "test"])
    assert len(prepared.split["dropped"]) == 10
    assert [line for line in prepared.plan.warnings if line.startswith("overlap")] == []


def test_own_validation_images_are_never_left_out(recipe: Path) -> None:
    photos = recipe.parent / "photos"
    shutil.copytree(photos / "test", photos / "val")
    with pytest.raises(DataError, match="10 of 10 test images are identical to validation images") as caught:
        training(recipe, "data.on_overlap=error")
    assert caught.value.hints == ("take such images out of one of the two parts",)
    assert training(recipe, "data.on_overlap=drop").prepared.plan.images.validation == 10


def test_also_images_of_the_folder_that_is_split_anew_are_counted(recipe: Path) -> None:
    text = RECIPE.replace("validation = 0.0", "fractions = [0.6, 0.2, 0.2]")
    recipe.write_text(text + '[also.same]\nname = "folder"\noptions = { path = "photos" }\n')
    prepared = training(recipe).prepared
    parts = {name: set(prepared.split[name].get("files", [])) for name in ("train", "validation", "also.same")}
    expected = {name: len(parts["also.same"] & parts[name]) for name in ("train", "validation")}
    assert expected["train"] > 0
    found = {each["first"]: each["count"] for each in prepared.split["overlap"] if each["second"] == "also.same"}
    assert found == {name: count for name, count in expected.items() if count}


def test_a_class_of_which_nothing_is_left_is_refused(recipe: Path) -> None:
    photos = recipe.parent / "photos"
    shutil.rmtree(photos / "test" / "dark")
    shutil.copytree(photos / "train" / "dark", photos / "test" / "dark")
    with pytest.raises(DataError, match="no training image of class dark is left") as caught:
        training(recipe, "data.on_overlap=drop")
    assert caught.value.hints[0].startswith("10 images are left out of training")


def test_arrays_are_compared_too(toy_recipe: Path) -> None:
    """Every image of a synthetic set without noise is its class's pattern."""
    lines = training(toy_recipe, "data.options.noise=0.0").plan.warnings
    assert [line for line in lines if line.startswith("overlap: 40 of 40 test images are identical to training images:")]


def test_only_files_of_a_size_that_another_part_has_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digests = overlap.members.digests
    monkeypatch.setattr(overlap.members, "digests", lambda listed: read.extend(listed) or digests(listed))
    for name, content in (("a", b"1"), ("b", b"22"), ("c", b"22"), ("d", b"333"), ("e", b"23")):
        (tmp_path / name).write_bytes(content)
    parts = overlap.of_files({"train": [tmp_path / "a", tmp_path / "b"], "test": [tmp_path / name for name in "cde"]})
    assert sorted(path.name for path in read) == ["b", "c", "e"]
    (found,) = overlap.find(parts)
    assert (found.count, found.total, found.example) == (1, 3, (str(tmp_path / "b"), str(tmp_path / "c")))


def test_a_plan_reads_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"the same" if name != "c" else b"another.")
    parts = {"train": [tmp_path / "a"], "test": [tmp_path / "b", tmp_path / "c"]}
    assert overlap.find(overlap.of_files(parts, at_most=23)) == ()
    (found,) = overlap.find(overlap.of_files(parts, at_most=24))
    assert (found.count, found.total) == (1, 2)
    monkeypatch.setattr(overlap.members, "known_digests", lambda listed: [b"" for _ in listed])  # all are remembered
    assert overlap.find(overlap.of_files(parts, at_most=0)) == (found,)


def test_pairs_that_tell_nothing_are_not_counted() -> None:
    """Two evaluated parts may share images; one that chose the epoch or was trained on may not be evaluated."""
    key = np.arange(16, dtype=np.uint8)[None]
    other = key + 1
    parts = {
        name: Content((keys,), (), len(keys))
        for name, keys in (("train", other), ("validation", key), ("test", key), ("also.a", key), ("also.b", other))
    }
    assert [(each.first, each.second) for each in overlap.find(parts)] == [
        ("train", "also.b"), ("validation", "test"), ("validation", "also.a"),
    ]  # fmt: skip
