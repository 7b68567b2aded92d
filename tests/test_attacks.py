"""Ways to go wrong that were found by trying to break it, each with what must come instead."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Never

import numpy as np
import pytest
from conftest import TOY_RECIPE, Cli
from PIL import Image

from tlkit import api
from tlkit.errors import DataError, TlkitError
from tlkit.record import run_folder

ONE = ["schedule.epochs=1"]


def folder_of(applied: api.Applied, arm: str = "main") -> Path:
    (seed,) = applied.result["arms"][arm]["seeds"].values()
    return applied.folder / seed["folder"]


def test_a_run_and_its_weights_file_as_sources_are_two_runs(toy_recipe: Path, tmp_path: Path) -> None:
    """A run brings its head, its file alone does not."""
    first = folder_of(api.apply(toy_recipe, [*ONE, "name=first"], runs=tmp_path / "runs"))
    both = [
        folder_of(api.apply(toy_recipe, [*ONE, f"backbone.weights='{source}'"], runs=tmp_path / "runs"))
        for source in (f"run:{first}", first / "weights.safetensors")
    ]
    assert both[0] != both[1]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_on_held_out_images_that_is_no_number_fails_the_run(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    """Finite weights may still overflow on other images; whether they do depends on the machine, so it is said to be so."""
    monkeypatch.setattr("tlkit.tasks.scoring.quick", lambda *_, **__: {"loss": loss, "accuracy": 0.5})
    applied = api.apply(toy_recipe, ONE, runs=tmp_path)
    assert [failure.exit_code for failure in applied.failures] == [3]
    assert "held-out images is not a number" in str(applied.failures[0])
    (run,) = applied.result["arms"]["main"]["seeds"].values()
    assert run["status"] == "failed"


def test_finished_run_whose_weights_are_gone_is_trained_again(toy_recipe: Path, tmp_path: Path) -> None:
    folder = folder_of(api.apply(toy_recipe, ONE, runs=tmp_path))
    before = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").unlink()
    assert api.apply(toy_recipe, ONE, runs=tmp_path).changed
    assert (folder / "weights.safetensors").read_bytes() == before


def test_curves_that_are_gone_or_old_are_drawn_again_where_the_folder_can_be_written(
    toy_recipe: Path, tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = api.apply(toy_recipe, ONE, runs=tmp_path)
    picture = applied.folder / "curves.svg"
    picture.unlink()
    assert not api.apply(toy_recipe, ONE, runs=tmp_path).changed
    assert picture.is_file()
    os.utime(picture, ns=(0, 0))
    api.apply(toy_recipe, ONE, runs=tmp_path)
    assert time.time() - picture.stat().st_mtime < 60
    os.utime(picture, ns=(0, 0))

    def read_only(path: Path, **_: object) -> Never:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("tlkit.record.file_lock.held", read_only)
    code, out, err = run("apply", toy_recipe, "--set", ONE[0], "--runs", tmp_path)
    assert (code, "finished before, nothing to do" in out) == (0, True)
    assert "toy: cannot be written: Read-only file system; result.json, curves.svg and report.html stay as they are" in err
    assert picture.stat().st_mtime_ns == 0


def test_what_a_killed_process_left_half_written_goes(toy_recipe: Path, tmp_path: Path) -> None:
    folder = folder_of(api.apply(toy_recipe, ONE, runs=tmp_path))
    (folder / "result.json").write_text((folder / "result.json").read_text().replace("finished", "running"))
    strays = [folder / ".weights.safetensors.abc123", folder / "checkpoint" / ".state-1.safetensors.x9"]
    for stray in strays:
        stray.write_bytes(b"half")
    api.apply(toy_recipe, ONE, runs=tmp_path)
    assert [stray for stray in strays if stray.exists()] == []


def test_one_arm_needs_nothing_of_the_others(toy_recipe: Path, tmp_path: Path) -> None:
    toy_recipe.write_text(TOY_RECIPE + '[arms.a]\n[arms.b]\nbackbone.name = "resnet18"\nbackbone.weights = "imagenet1k-v1"\n')
    applied = api.apply(toy_recipe, [*ONE, "data.image_size=32"], arm="a", runs=tmp_path, offline=True)
    assert list(applied.result["arms"]) == ["a"]
    with pytest.raises(TlkitError, match=r"resnet18-f37072fd\.pth not found"):
        api.apply(toy_recipe, [*ONE, "data.image_size=32"], runs=tmp_path, offline=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two splits of two classes, eight pictures each."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for index in range(8):
                pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{index}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(("lost", "words"), [("train/dogs", "class dogs"), ("test", "no test image")])
def test_skipping_never_loses_a_class_or_a_split(toy_recipe: Path, photos: Path, lost: str, words: str) -> None:
    for path in (photos / lost).rglob("*.png"):
        path.write_bytes(b"")
    text = TOY_RECIPE.replace('"synthetic"', '"folder"').replace(
        "classes = 4\ntrain = 80\ntest = 40\nsize = 16", 'path = "photos"'
    )
    toy_recipe.write_text(text)
    with pytest.raises(DataError, match=words):
        api.apply(toy_recipe, [*ONE, "data.on_corrupt=skip"], runs=toy_recipe.parent / "runs")


@pytest.mark.parametrize("damage", [b"[]\n5\n", b'{"epoch": 1}\n', b"\xff\xfe\n", b"{\n"])
def test_damaged_metrics_of_a_sibling_do_not_stop_the_others(toy_recipe: Path, tmp_path: Path, damage: bytes) -> None:
    toy_recipe.write_text(TOY_RECIPE + "[arms.a]\n[arms.b]\n")
    first = folder_of(api.apply(toy_recipe, ONE, arm="a", runs=tmp_path), "a")
    (first / "metrics.jsonl").write_bytes(damage)
    applied = api.apply(toy_recipe, ONE, runs=tmp_path)
    assert run_folder.read(folder_of(applied, "b")).status == "finished"
    assert json.loads((applied.folder / "result.json").read_text())["arms"].keys() == {"a", "b"}
