"""The pictures of recipes/emoji_boxes.toml: the boxes are those of the emoji, and the same seed makes the same pictures."""

import json
from pathlib import Path

import emoji_scenes
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from tlkit import api
from tlkit.plugin import Dataset, call, registry
from tlkit.recipe import parsing


def test_scenes_have_three_to_eight_emoji_whose_boxes_are_known(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emoji_scenes, "DATA", test_data)
    for name in ("one", "other"):
        emoji_scenes.write(tmp_path / name, counts=(6, 3))
    dataset = registry.get(Dataset, "coco")
    options = parsing.options(dataset.options, {"train": "train.json", "test": "test.json"}, place="data.options")
    images = call(dataset.read, call(dataset.find, tmp_path / "one", options), options)
    assert len(images.classes) == 9
    for part, count in (("train", 6), ("test", 3)):
        split = images.splits[part]
        assert len(split.files) == count
        for path, each in zip(split.files, split.targets, strict=True):
            assert 3 <= len(each.classes) <= 8
            sides = each.corners[:, 2:] - each.corners[:, :2]
            assert ((sides.max(1) >= 20) & (sides.max(1) <= 48)).all()
            again = tmp_path / "other" / part / path.name
            assert (np.asarray(Image.open(path)) == np.asarray(Image.open(again))).all()
    held = json.loads((tmp_path / "one" / "train.json").read_text())
    assert held == json.loads((tmp_path / "other" / "train.json").read_text())


@pytest.mark.slow
def test_a_pretrained_trunk_finds_emoji_sooner_than_one_from_scratch(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of recipes/emoji_boxes.toml: 48 steps of each arm, about a minute of one core; mAP50 was 0.130 and 0.006."""
    pytest.importorskip("tlkit_efficientnet_lite")
    monkeypatch.setattr(emoji_scenes, "DATA", test_data)
    emoji_scenes.write(tmp_path / "scenes", counts=(96, 24))
    settings = (f"data.options.path={tmp_path / 'scenes'}", "data.split.validation=0", "schedule.epochs=4")
    done = api.apply(ROOT / "recipes" / "emoji_boxes.toml", settings, runs=tmp_path / "runs")
    found = {arm: each["seeds"]["0"]["test"]["map50"] for arm, each in done.result["arms"].items()}
    assert found["imagenet"] > found["scratch"] + 0.03, found
