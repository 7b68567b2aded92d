"""tlkit inspect: planted duplicates and wrong labels are found, and what cannot be looked for is said."""

import gc
import json
import re
import shutil
import tarfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image, ImageOps
from safetensors.torch import save_file
from tlkit_toy_build import ToyNet

from tlkit import api
from tlkit.errors import DataError
from tlkit.network.network import Network
from tlkit.record import findings, results
from tlkit.record.findings import Findings
from tlkit.reports import findings_table
from tlkit.reports.page import page, runs
from tlkit.run import start_network
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places
from tlkit_fashion_mnist import fashion_mnist_mini

DUPLICATES, WRONG = 20, 20


@dataclass(frozen=True)
class Planted:
    """A folder with train and test images, and what was planted: pairs of names, and names of wrong labels."""

    folder: Path
    pairs: set[frozenset[str]]
    wrong: set[str]


def plant(folder: Path) -> Planted:
    """Copy 20 training images into test, most of them changed, and give 20 others the next class's label."""
    generator = np.random.default_rng(0)
    classes = sorted(path.name for path in (folder / "train").iterdir())
    images = sorted((folder / "train").rglob("*.*"))
    chosen = [images[row] for row in generator.choice(len(images), DUPLICATES + WRONG, replace=False)]
    pairs, wrong = set(), set()
    for number, source in enumerate(chosen[:DUPLICATES]):
        target = folder / "test" / source.parent.name / f"copy{number}{source.suffix}"
        image = Image.open(source).convert("RGB")
        if number % 4 == 0:
            shutil.copy(source, target)
        elif number % 4 == 1:
            target = target.with_suffix(".jpg")
            image.save(target, quality=60)
        elif number % 4 == 2:
            image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(target)
        else:
            ImageOps.mirror(image).point(lambda value: value * 0.85).save(target)
        pairs.add(frozenset(str(path.relative_to(folder)) for path in (source, target)))
    for number, source in enumerate(chosen[DUPLICATES:]):
        other = classes[(classes.index(source.parent.name) + 1) % len(classes)]
        target = source.rename(folder / "train" / other / f"wrong{number}{source.suffix}")
        wrong.add(str(target.relative_to(folder)))
    return Planted(folder, pairs, wrong)


def clothes(folder: Path) -> Path:
    """500 pictures of four kinds of clothes, of the data set that comes with tlkit."""
    found = data_files.find_data("fashion_mnist_mini", fashion_mnist_mini, None, Places(), fetch=False)
    images = datasets.read_data(fashion_mnist_mini, found, None)
    for part, each_class in (("train", 100), ("test", 25)):
        split = images.splits[part]
        assert split.pixels is not None
        for name in ("Trouser", "Sandal", "Bag", "Ankle boot"):
            (folder / part / name).mkdir(parents=True)
            for row in np.flatnonzero(split.targets == images.classes.index(name))[:each_class]:
                Image.fromarray(split.pixels[row]).save(folder / part / name / f"{row}.png")
    return folder


def check(found: Findings, planted: Planted) -> None:
    """All 20 duplicates and 15 of the 20 labels are found, and at most 10 others of both."""
    pairs = {frozenset((pair.first.name, pair.second.name)) for pair in found.pairs}
    doubtful = {each.image.name for each in found.labels}
    assert planted.pairs <= pairs
    assert len(doubtful & planted.wrong) >= 15
    assert len(pairs - planted.pairs) + len(doubtful - planted.wrong) <= 10
    assert sum(each.count for each in found.across if each.second == "test" and each.first == "train") >= DUPLICATES - 5
    assert all("the result is better than for new images" in line for line in found.warnings)


def test_planted_duplicates_and_wrong_labels_among_clothes_are_found(tmp_path: Path) -> None:
    planted = plant(clothes(tmp_path / "clothes"))
    check(api.inspect(planted.folder, ["data.image_size=56"], device="cpu", offline=True), planted)


@pytest.mark.slow
def test_planted_duplicates_and_wrong_labels_among_ants_and_bees_are_found(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "hymenoptera.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = {path.parent for path in tmp_path.rglob("train") if path.is_dir()}
    (folder / "val").rename(folder / "test")
    planted = plant(folder)
    check(api.inspect(planted.folder, device="cpu", offline=True), planted)  # at the size that init proposes


# ---- a toy backbone whose weights lie in a file

RECIPE = """\
format = 1
name = "toy"
[backbone]
name = "toy"
weights = "toy.safetensors"
[data]
name = "folder"
image_size = 16
batch_size = 8
[data.options]
path = "photos"
[data.split]
validation = 0.0
[freeze]
backbone = true
[lr_groups]
head = 1e-2
[schedule]
epochs = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe and its photographs, 20 training and 10 test images of two classes; two of the test images are copies."""
    torch.manual_seed(0)
    save_file(ToyNet().state_dict(), tmp_path / "toy.safetensors")
    photos, generator = tmp_path / "photos", np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 10)):
        for name in ("dark", "light"):
            (photos / part / name).mkdir(parents=True)
            for number in range(count):
                coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((32, 24), Image.Resampling.BICUBIC).save(photos / part / name / f"{number}.png")
    shutil.copy(photos / "train/dark/3.png", photos / "test/light/0.png")
    (photos / "test/dark/1.png").unlink()
    Image.open(photos / "train/dark/4.png").resize((40, 30)).save(photos / "test/dark/1.png")
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE)
    return path


def test_inspect_prints_what_it_found_and_keeps_it(recipe: Path, run: Cli) -> None:
    (recipe.parent / "photos/train/dark/broken.png").write_bytes(b"no image")
    code, out, _ = run("inspect", recipe)
    assert code == 0
    assert "2 classes, 40 train, 20 test images" in out
    assert "sizes: 24x32 px to 30x40 px, median 24x32 px" in out
    assert "1 image cannot be decoded" in out
    assert "broken.png" in out
    assert "test/light/0.png   train/dark/3.png   1.000" in out
    assert "in train and test, labels dark and light" in out
    assert "warning: duplicates: 1 of 20 test images is identical to train images" in out
    assert "warning: duplicates: 1 of 20 test images is a near duplicate of train images" in out
    found = json.loads(run("inspect", recipe, "--json")[1])
    assert found["format"] == 1
    assert found["classes"] == {"dark": {"train": 20, "test": 10}, "light": {"train": 20, "test": 10}}
    assert [(pair["kind"], pair["first"]["name"], pair["second"]["name"]) for pair in found["pairs"]] == [
        ("exact", "train/dark/3.png", "test/light/0.png"),
        ("near", "train/dark/4.png", "test/dark/1.png"),
    ]
    kept = findings.load(recipe.parent / "runs/toy")
    assert json.loads(json.dumps(kept[0].record())) == found
    assert len(kept[1]) > max(each["first"]["picture"] for each in found["pairs"])


def test_without_trained_weights_only_what_needs_no_embedding_is_looked_for(recipe: Path, run: Cli) -> None:
    absent = ["backbone={ name = 'resnet18', weights = 'imagenet' }", "data.image_size=32"]
    lenet, other = (
        ["data.image_size=32", f"backbone={{ name = '{each}', weights = 'none' }}"] for each in ("lenet5", "cifar_resnet20")
    )
    for settings, said in (
        (lenet, "the backbone has random weights\n"),  # it has no others
        (other, "random weights; --set 'backbone.weights=\"cifar10\"' compares by trained ones"),
        (absent, "resnet18"),
    ):
        code, out, _ = run("inspect", recipe, "--offline", *(word for each in settings for word in ("--set", each)))
        assert code == 0
        assert "identical images: 1" in out
        assert "near duplicates: " not in out
        assert "near duplicates, labels and outliers are not looked for: " in out
        assert said in out


def test_near_duplicate_in_train_and_test_is_a_warning_with_every_result(
    recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.run.data_inspection._SHARE", 0.0)
    assert run("apply", recipe)[0] == 0
    before = findings.load(recipe.parent / "runs/toy")
    assert before[0].totals == {"exact": 1}
    assert run("inspect", recipe)[0] == 0
    line = "duplicates: 1 of 20 test images is a near duplicate of train images"
    code, out, _ = run("apply", recipe)
    assert code == 0
    assert "finished before" in out
    assert line in out
    known = results.read(recipe.parent / "runs/toy")
    assert [each[: len(line)] for each in known["warnings"]] == [line]
    made = page.render(runs.by_arm(runs.read(runs.find([recipe.parent / "runs/toy"]))))
    assert f"<li>{line}" in made
    section = made[made.index('<section id="data">') : made.index('<section id="plan">')]
    assert "test/dark/1.png is like train/dark/4.png; in train and test" in section
    assert section.count("<img") >= 4


def test_apply_compares_embeddings_that_it_stored(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.run.data_inspection._SHARE", 1e9)
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    folder = api.apply(recipe, runs=recipe.parent / "runs").folder
    kept = findings.load(folder)
    by_hand = api.inspect(recipe, runs=recipe.parent / "other")
    assert kept[0].totals == by_hand.totals
    assert [pair.second.name for pair in kept[0].pairs] == [pair.second.name for pair in by_hand.pairs]
    assert kept[0].embedded == by_hand.embedded == "toy (toy.safetensors), stage block2"


def test_an_apply_that_was_killed_before_it_kept_its_findings_inspects_at_the_next_start(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.run.data_inspection._SHARE", 1e9)
    first = api.apply(recipe, runs=recipe.parent / "runs")
    known = findings.load(first.folder)
    (first.folder / findings.FILE).rename(first.folder / f".{findings.FILE}.0123abcd.part")  # as a kill leaves it
    results_before = {path: path.read_bytes() for path in first.folder.glob("main-*/*.*")}
    again = api.apply(recipe, runs=recipe.parent / "runs")
    assert not again.changed
    assert results_before == {path: path.read_bytes() for path in first.folder.glob("main-*/*.*")}
    kept = findings.load(first.folder)
    assert (kept is not None, known is not None) == (True, True)
    assert kept[0] == known[0]
    assert "duplicates: 1 of 20 test images" in (first.folder / "report.html").read_text()
    (first.folder / "report.html").unlink()
    monkeypatch.setattr("tlkit.run.executor.train", lambda *_, **__: pytest.fail("inspected again"))
    assert not api.apply(recipe, runs=recipe.parent / "runs").changed


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("tlkit.inspection.inspecting._compare", "near duplicates, labels and outliers are not looked for: "),
        ("tlkit.inspection.inspecting.inspect", "the images are not compared: "),
        ("tlkit.run.shared_pictures.prepare", "the images are not compared: "),  # of finished runs, which need no preparing
    ],
)
def test_a_failed_inspection_is_kept_and_not_tried_again_until_it_is_asked_for(
    recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch, broken: str, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("the matrix is singular") if "inspection" in broken else DataError("photos/a.png: is gone.")

    monkeypatch.setattr("tlkit.run.data_inspection._SHARE", 1e9)
    if "shared_pictures" in broken:
        assert run("apply", recipe)[0] == 0
        (recipe.parent / "runs/toy" / findings.FILE).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        code, _, error = run("apply", recipe)
    why = "ValueError: the matrix is singular" if "inspection" in broken else "photos/a.png: is gone"
    assert code == 0
    assert f"the inspection of its images failed: {why}; tlkit inspect RECIPE tries again" in " ".join(error.split())
    kept = findings.load(recipe.parent / "runs/toy")
    assert list(kept[0].notes) == [f"{said}{why}; tlkit inspect RECIPE tries again"]
    assert (kept[0].totals is not None) == ("_compare" in broken)
    assert why in (recipe.parent / "runs/toy/report.html").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("tlkit.run.executor.train", lambda *_, **__: pytest.fail("inspected again"))
        assert run("apply", recipe)[0] == 0
    assert run("inspect", recipe)[0] == 0
    kept = findings.load(recipe.parent / "runs/toy")
    assert kept[0].embedded


def test_runs_that_are_inspected_later_hold_no_networks(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[weakref.ref[Network]] = []
    alive: list[int] = []
    build = start_network.build

    def noted(*given: Any, **more: Any) -> Network:
        network = build(*given, **more)
        built.append(weakref.ref(network))
        return network

    def counted(*_: object, **__: object) -> None:
        gc.collect()
        alive.append(sum(each() is not None for each in built))

    applied = api.apply(recipe, "seeds=[0, 1]", runs=recipe.parent / "runs")
    (applied.folder / findings.FILE).unlink()
    monkeypatch.setattr(start_network, "build", noted)
    monkeypatch.setattr("tlkit.run.data_inspection.keep", counted)
    assert not api.apply(recipe, "seeds=[0, 1]", runs=recipe.parent / "runs").changed
    assert (len(built), alive) == (2, [0])


def test_findings_of_other_images_are_not_shown(recipe: Path) -> None:
    folder = api.apply(recipe, runs=recipe.parent / "runs").folder
    shown = [path.parent for path in folder.glob("*/resolved.toml")]
    assert findings.of_runs(folder, shown) is not None
    (recipe.parent / "photos/test/dark/2.png").unlink()
    api.inspect(recipe, runs=recipe.parent / "runs")
    assert findings.load(folder) is not None
    assert findings.of_runs(folder, shown) is None


def test_images_that_are_arrays_and_a_solved_head_are_inspected(toy_recipe: Path) -> None:
    found = api.inspect(toy_recipe, ["head.kind=logistic"], runs=toy_recipe.parent / "runs")
    assert found.parts == {"train": 72, "validation": 8, "test": 40}
    assert sum(sum(counts.values()) for counts in found.classes.values()) == 120
    assert found.folder == ""
    assert found.embedded == ""


def test_images_that_come_with_a_plugin_are_named_and_not_where_it_is_installed(toy_recipe: Path) -> None:
    recipe = toy_recipe.read_text().replace('name = "synthetic"', 'name = "fashion_mnist_mini"')
    toy_recipe.write_text(re.sub(r"\[data\.options\][^[]*", "", recipe))
    found = api.inspect(toy_recipe, device="cpu", runs=toy_recipe.parent)
    assert findings_table.head(found).startswith("fashion_mnist_mini: 10 classes, ")
