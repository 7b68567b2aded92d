"""predictions.npz: what the best epoch predicts for every image, and which image that is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlkit import api
from tlkit.errors import RunFolderError
from tlkit.record import predictions
from tlkit.run import loading


@pytest.fixture
def run(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on files, with validation and test images of two classes."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    draw = np.random.default_rng(0)
    for number in range(40):
        path = toy_recipe.parent / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"')
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "images"\n\n'))
    applied = api.apply(toy_recipe, ["data.split={fractions=[0.5, 0.25, 0.25]}"], runs=toy_recipe.parent / "runs")
    return applied.folder / applied.result["arms"]["main"]["seeds"]["0"]["folder"]


def test_scores_of_a_run_follow_from_its_predictions(run: Path) -> None:
    result, found = json.loads((run / "result.json").read_text()), predictions.load(run)
    assert set(found.split) == {"validation", "test"}
    assert found.logits.dtype == np.float32
    for split in ("validation", "test"):
        part = found.part(split)
        assert len(part.index) == 10
        accuracy = (part.logits.argmax(1) == part.label).mean()
        logarithms = part.logits - np.log(np.exp(part.logits.astype(np.float64)).sum(1, keepdims=True))
        loss = -logarithms[np.arange(10), part.label].mean()
        assert result[split]["accuracy"] == pytest.approx(accuracy)
        assert result[split]["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_prediction_leads_to_its_file(run: Path) -> None:
    """The file of every prediction, by split.json, is one of its label, and predicted again it has the same probabilities."""
    found = predictions.load(run).part("test")
    split = json.loads((run / "split.json").read_text())["test"]
    files = dict(zip(split["positions"], split["files"], strict=True))
    paths = [files[index] for index in found.index.tolist()]
    assert [Path(path).parent.name for path in paths] == ["ab"[label] for label in found.label]
    again = loading.load(run, arm=None, device=torch.device("cpu")).predict(paths)
    expected = torch.softmax(torch.from_numpy(found.logits), 1).numpy()
    np.testing.assert_allclose(again, expected, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / predictions.FILE).write_bytes(content)
    with pytest.raises(RunFolderError, match=r"predictions\.npz"):
        predictions.load(tmp_path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / predictions.FILE, split=np.array([{}], dtype=object), index=[0], label=[0], logits=[[0.0]])
    with pytest.raises(RunFolderError, match="is damaged"):
        predictions.load(tmp_path)
