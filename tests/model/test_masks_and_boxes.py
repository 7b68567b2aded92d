"""A Model whose head answers for every pixel, or finds objects: it is evaluated as training evaluates it, and by pixels counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_boxes
import toy_masks
from PIL import Image
from toy_model import labels, pixels

import tlkit
from tlkit.errors import TlkitError
from tlkit.run import loading

RATES = {"optimizer": "adamw", "lr": 3e-3}


def test_masks_are_evaluated_as_pixels_counted_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_masks.install(monkeypatch)
    toy_masks.write(tmp_path)
    (tmp_path / "test" / "images" / "3.png").unlink()  # the smaller one, which predict puts on no canvas of the larger ones
    model = tlkit.Model("toy", head="fcn", device="cpu")
    model.compile(**RATES)
    model.fit("shapes", options={"path": str(tmp_path)}, epochs=1, batch_size=4, verbose=0)
    scores = model.evaluate("shapes", options={"path": str(tmp_path)}, verbose=0)
    assert model.history[-1].test == pytest.approx(scores)
    both = either = right = every = 0
    for path in sorted((tmp_path / "test" / "images").glob("*.png")):
        found = model.predict(path)[0].argmax(0) == 1
        mask = np.asarray(Image.open(tmp_path / "test" / "masks" / path.name))
        seen = mask != 255
        both += int((found & (mask == 1)).sum())
        either += int((found & seen).sum() + (mask == 1).sum())
        right, every = right + int((found == (mask == 1))[seen].sum()), every + int(seen.sum())
    assert scores["accuracy"] == pytest.approx(right / every)
    assert scores["dice"] == pytest.approx(2 * both / either if either else 0.0)
    with pytest.raises(TlkitError, match="in one view"):
        model.evaluate("shapes", options={"path": str(tmp_path)}, views=2)
    for call in (model.fit, model.evaluate):
        with pytest.raises(TlkitError, match="x is no data set, and the fcn head learns a class for every pixel"):
            call(pixels(), labels())
    with pytest.raises(TlkitError) as caught:
        model.fit("synthetic", epochs=1)
    assert str(caught.value).startswith("Model.fit: head: the fcn head learns a class for every pixel, and synthetic has")
    assert caught.value.problems[0].hints == ('head="linear"',)
    with pytest.raises(TlkitError, match=r"data\.scale_to = 0\.5 .*; Model\.from_recipe reads a recipe with such a key"):
        tlkit.Model("toy", head="fcn", classes=2, image_size=16, device="cpu")


def test_a_run_on_scaled_pictures_answers_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy_masks.install(monkeypatch)
    toy_masks.write(tmp_path / "data")
    (tmp_path / "r.toml").write_text(toy_masks.RECIPE)
    run = tlkit.apply("r.toml", ["schedule.epochs=1", "data.scale_to=0.5", "data.tile_size=32"], device="cpu").folder
    (folder,) = run.glob("main-*")
    pictures = sorted((tmp_path / "data" / "test" / "images").glob("*.png"))
    given, asked = tlkit.load(folder, device="cpu"), loading.load(folder, arm=None, device=torch.device("cpu"))
    for path in pictures:
        np.testing.assert_array_equal(given.predict(path)[0], asked.mask(path).probabilities)
    found = given.evaluate("shapes", options={"path": str(tmp_path / "data")}, verbose=0)
    result = json.loads((folder / "result.json").read_text())
    assert found == pytest.approx({name: result["test"][name] for name in found})


def test_boxes_are_evaluated_as_in_training(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    toy_boxes.write(tmp_path, counts=(2, 1, 2))
    options = {"path": str(tmp_path), "classes": list(toy_boxes.CLASSES)}
    model = tlkit.Model("toy", head={"kind": "fcos", "options": {"width": 32, "convolutions": 1, "smallest": 4}}, device="cpu")
    model.compile(**RATES)
    model.fit("yolo", options=options, epochs=1, batch_size=2, verbose=0)
    assert model.history[-1].test == pytest.approx(model.evaluate("yolo", options=options, verbose=0), rel=1e-5)
    with pytest.raises(TlkitError, match='"coco"'):
        model.fit(pixels(), labels())
