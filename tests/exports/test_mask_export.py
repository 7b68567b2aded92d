"""Exports of a head that answers for every pixel give the probabilities of predict, for pictures of any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import toy_masks
from PIL import Image

from tlkit import api
from tlkit.errors import TlkitError
from tlkit.exports import finished_run, graph
from tlkit.exports.export import export
from tlkit.exports.forms import Form


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
    network = torch.export.load(export(folder, Form.TORCH_EXPORT, tmp_path / "m.pt2").file).module()
    card = (tmp_path / "README.md").read_text()
    assert "image-segmentation" in card
    assert "mask = probabilities[0].argmax(0)" in card
    assert "- test images: Dice 0." in card
    for index, size in enumerate([(30, 44), (21, 33), (16, 70)]):
        picture = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "picture.png")
        expected = run.predictor.mask(tmp_path / "picture.png").probabilities
        (found,) = session.run(None, {"pictures": picture[None]})
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        np.testing.assert_allclose(network(torch.from_numpy(picture)[None])[0].detach(), expected, atol=1e-5)


@pytest.mark.slow
def test_what_a_graph_of_masks_cannot_do_is_refused(folder: Path, tmp_path: Path) -> None:
    run = finished_run.load(folder)
    scaled = run.arm.model_copy(update={"data": run.arm.data.model_copy(update={"scale_to": 0.5})})
    with pytest.raises(TlkitError, match=r"are scaled by data.scale_to, which the graph .* does not do yet"):
        graph.program(replace(run, arm=scaled))
    with pytest.raises(TlkitError, match="what int8 costs is measured by the classes of pictures"):
        export(folder, Form.ONNX, tmp_path / "m.onnx", quantize="int8")
    with pytest.raises(TlkitError, match=r"is a network of tlkit_toy_build\.ToyNet, not of timm"):
        export(folder, Form.TIMM, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
