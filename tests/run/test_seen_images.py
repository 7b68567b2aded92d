"""Images that are evaluated although the run that is begun with was trained on them: counted, said, refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import TOY_RECIPE
from PIL import Image
from toy_training import training

from tlkit import api
from tlkit.errors import DataError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Twenty pictures of each of two classes, a recipe on them, and a run of it in "first"; tests only read it."""
    folder = tmp_path_factory.mktemp("seen")
    draw = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    options = TOY_RECIPE[TOY_RECIPE.index("[data.options]") : TOY_RECIPE.index("[lr_groups]")]
    text = TOY_RECIPE.replace(options, '[data.options]\npath = "photos"\n').replace('"synthetic"', '"folder"')
    (folder / "toy.toml").write_text(text.replace("epochs = 2", "epochs = 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        api.apply(folder / "toy.toml", ["cross_validation.folds=2", "name=folds"], runs=folder / "runs")
        api.apply(folder / "toy.toml", ["name=whole"], runs=folder / "runs")
        yield folder


def run(place: Path, pattern: str) -> Path:
    (found,) = (place / "runs").glob(pattern)
    return found


def said(place: Path, source: Path, *settings: str) -> list[str]:
    mine = training(place / "toy.toml", f"backbone.weights='run:{source}'", *settings)
    return [line for line in mine.plan.warnings if "trained on by" in line]


def files(folder: Path, part: str) -> set[str]:
    return set(json.loads((folder / "split.json").read_text())[part]["files"])


def test_test_images_that_a_fold_was_trained_on_are_counted(place: Path) -> None:
    """A cross-validation trains on the images that a recipe without one holds out as test images."""
    fold, whole = run(place, "folds/main-s0-f1-*"), run(place, "whole/main-s0-*")
    tested, trained = files(whole, "test"), files(fold, "train")
    assert 0 < len(tested & trained) < len(tested) == 8
    (line, *others) = sorted(said(place, fold), key=lambda each: "test images" not in each)
    assert line.startswith(f"overlap: {len(tested & trained)} of 8 test images were trained on by {fold}, whose weights")
    assert all("validation images" in each for each in others)


def test_same_split_as_the_earlier_run_has_nothing_to_say(place: Path) -> None:
    assert said(place, run(place, "whole/main-s0-*")) == []


def test_another_split_evaluates_validation_images_that_were_trained_on(place: Path) -> None:
    (line,) = said(place, run(place, "whole/main-s0-*"), "data.split.validation=0.5")
    assert "validation images were trained on by" in line


def test_run_before_the_earlier_run_counts_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    fold = run(place, "folds/main-s0-f1-*")
    api.apply(place / "toy.toml", ["name=second", f"backbone.weights='run:{fold}'"], runs=place / "runs")
    assert any(f"test images were trained on by {fold}" in line for line in said(place, run(place, "second/main-s0-*")))


def test_images_that_were_trained_on_are_refused_where_that_is_said(place: Path) -> None:
    with pytest.raises(DataError, match=r"images were trained on by .*, whose weights this run begins with"):
        said(place, run(place, "folds/main-s0-f1-*"), "data.on_overlap='error'")
