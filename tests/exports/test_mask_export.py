"""Exports of a head that answers for every pixel give the probabilities of predict, for pictures of any size."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import toy_masks
from PIL import Image
from safetensors import safe_open

from tlkit import api
from tlkit.errors import TlkitError
from tlkit.exports import finished_run, model_card, quantization, run_pictures
from tlkit.exports.export import export
from tlkit.exports.forms import Form
from tlkit.run import mask_prediction
from tlkit.tasks.segmentation import SEGMENTATION


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("masks")
    with pytest.MonkeyPatch.context() as patch:
        toy_masks.install(patch)
        toy_masks.write(root / "data")
        (root / "r.toml").write_text(toy_masks.RECIPE)
        settings = ["head.kind=unet", "head.options.widths=[8]", "data.crop_size=16", "schedule.epochs=1"]
        done = api.apply(root / "r.toml", settings, runs=root / "runs")
    return done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_masks.install(monkeypatch)


@pytest.mark.slow
def test_onnx_and_torch_export_answer_as_predict_for_pictures_of_any_size(folder: Path, tmp_path: Path) -> None:
    run = finished_run.load(folder)
    session = onnxruntime.InferenceSession(export(folder, Form.ONNX, tmp_path / "m.onnx").file)
    extra = {"threshold.json": ""}
    network = torch.export.load(export(folder, Form.TORCH_EXPORT, tmp_path / "m.pt2").file, extra_files=extra).module()
    card = (tmp_path / "README.md").read_text()
    assert "image-segmentation" in card
    threshold = json.loads((folder / "evaluation.json").read_text())["validation"]["threshold"]["probability"]
    assert threshold != 0.5
    assert json.loads(session.get_modelmeta().custom_metadata_map["threshold"]) == threshold
    assert json.loads(extra["threshold.json"]) == threshold
    with safe_open(export(folder, Form.SAFETENSORS, tmp_path / "m.safetensors").file, framework="pt") as opened:
        assert json.loads(opened.metadata()["threshold"]) == threshold
    assert "- test images: Dice 0." in card
    for index, size in enumerate([(30, 44), (21, 33), (16, 70)]):
        picture = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "picture.png")
        expected = run.predictor.mask(tmp_path / "picture.png").probabilities
        (found,) = session.run(None, {"pictures": picture[None]})
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        np.testing.assert_allclose(network(torch.from_numpy(picture)[None])[0].detach(), expected, atol=1e-5)


@pytest.mark.slow
def test_the_card_takes_the_threshold_of_two_classes_that_predict_takes(folder: Path, tmp_path: Path) -> None:
    chosen = mask_prediction.chosen_threshold(folder)
    assert chosen is not None
    run = finished_run.load(folder)
    card = model_card.write(tmp_path / "m.onnx", run, Form.ONNX).read_text()
    assert f"mask = 1 * (probabilities[0][1] >= {chosen})  # (H, W), places in classes" in card
    assert f"where its probability is {chosen:.3g} or more: that gave the best Dice on the validation images" in card
    three = replace(run, predictor=replace(run.predictor, classes=("a", "b", "c")))
    card = model_card.write(tmp_path / "m.onnx", three, Form.ONNX).read_text()
    assert "mask = probabilities[0].argmax(0)  # (H, W), places in classes" in card


@pytest.mark.slow
def test_what_a_graph_of_masks_cannot_do_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TlkitError, match=r"is a network of tlkit_toy_build\.ToyNet, not of timm"):
        export(folder, Form.TIMM, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("scale_to", ["0.5", "{ field_of_view = 24 }"])
def test_the_examples_of_the_card_give_the_mask_of_a_scaled_picture(scale_to: str, tmp_path: Path) -> None:
    toy_masks.write(tmp_path / "data")
    recipe = toy_masks.RECIPE.replace("batch_size", f"scale_to = {scale_to}\nbatch_size")
    (tmp_path / "r.toml").write_text(recipe.replace("epochs = 3", "epochs = 1"))
    done = api.apply(tmp_path / "r.toml", runs=tmp_path / "runs")
    folder = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    Image.fromarray(toy_masks.picture(np.random.default_rng(7), (61, 83))[0]).save(tmp_path / "picture.png")
    run = finished_run.load(folder)
    answer = run.predictor.mask(tmp_path / "picture.png").probabilities
    for form, name in ((Form.ONNX, "m.onnx"), (Form.TORCH_EXPORT, "m.pt2")):
        card = export(folder, form, tmp_path / form.value / name).card.read_text()
        assert f'- scaled_before: `{{"{"factor" if scale_to == "0.5" else "field_of_view"}": ' in card
        code = card.partition("```python\n")[2].partition("```")[0].replace("picture.jpg", str(tmp_path / "picture.png"))
        found: dict[str, Any] = {}
        exec(code.replace(f'"{name}"', f'"{tmp_path / form.value / name}"'), found)
        probabilities = torch.as_tensor(found["probabilities"]).detach()
        whole = torch.nn.functional.interpolate(probabilities, size=(61, 83), mode="bilinear")[0]
        np.testing.assert_allclose(whole, answer, atol=1e-5)
        chosen = mask_prediction.chosen_threshold(folder)
        assert np.array_equal(found["mask"], probabilities[0, 1] >= chosen)
        assert found["mask"].shape == tuple(probabilities.shape[2:]) < (61, 83)


@pytest.mark.slow
def test_dice_of_int8_is_told_and_is_that_of_the_file(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    made = export(folder, Form.ONNX, tmp_path / "m.onnx", quantize="int8", note=said.append)
    session, run = onnxruntime.InferenceSession(made.file), finished_run.load(folder)
    counts = np.zeros((2, 3))  # pixels of both, found and wanted, of int8 and of float32
    for picture, mask in run_pictures.pictures(run, "validation", 100):
        answers = session.run(None, {"pictures": picture[None]})[0][0], run.predictor.mask(picture).probabilities
        for count, answer in zip(counts, answers, strict=True):
            found = answer.argmax(0) == 1
            count += (found & (mask == 1)).sum(), found.sum(), (mask == 1).sum()
    dice = [2 * both / (found + wanted) for both, found, wanted in counts]
    text = next(each for each in said if "as int8" in each)
    assert text.startswith(f"Dice on 4 validation images: {dice[0]:.3f} as int8, {dice[1]:.3f} as float32")
    assert text in made.card.read_text()


def test_less_than_99_percent_of_dice_ruins_the_network() -> None:
    targets = torch.zeros(1, 20, 20, dtype=torch.uint8)
    targets[0, :10] = 1
    rows = []
    for wrong in (0, 1, 3):  # columns of 20
        logits = torch.stack([1.0 - targets, targets.float()], 1)
        logits[:, :, :, :wrong] = logits[:, :, :, :wrong].flip(1)
        rows.append(SEGMENTATION.reduction.rows(logits, targets))
    told = [quantization.comparison_of_rows(rows[0], each, SEGMENTATION) for each in rows]
    assert told[0] == "Dice on 1 validation images: 1.000 as int8, 1.000 as float32"
    assert told[1].endswith("0.950 as int8, 1.000 as float32. int8 ruins this network: it loses 0.050; leave --quantize out")
    assert "0.850 as int8" in told[2]
