"""Solved heads in torch give scikit-learn's numbers."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import tlkit
from tlkit.engine import estimators
from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError
from tlkit.exports import solved_heads
from tlkit.plugin import Head, Solving, registry
from tlkit.run import loading

KINDS = ["svm", "svm rbf", "logistic", "lda", "knn", "knn distance", "decision_tree", "random_forest"]
OPTIONS = {"svm rbf": {"kernel": "rbf"}, "knn distance": {"weights": "distance"}, "random_forest": {"trees": 20}}
FEATURES = 6


def fitted(kind: str, seen: int, classes: int) -> FittedHead:
    """A head that was fitted to images of the first `seen` of its classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(90) % seen
    features = generator.normal(size=(90, FEATURES)).astype(np.float32) + labels[:, None] * np.float32(0.7)
    head = registry.get(Head, kind.partition(" ")[0])
    solving = Solving(labels=labels, features=FEATURES, classes=classes, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, _ = estimators.fit(head, head.options(**OPTIONS.get(kind, {})), features, labels, solving)
    return made


@pytest.mark.parametrize("seen", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_estimator(kind: str, seen: int) -> None:
    head = fitted(kind, seen, classes=seen + 1)
    x = torch.from_numpy(np.random.default_rng(1).normal(1, 2, (200, FEATURES)).astype(np.float32))
    found, expected = solved_heads.module(head, "run")(x), head(x)
    assert torch.allclose(torch.softmax(found, 1), torch.softmax(expected, 1), atol=1e-4)
    assert torch.allclose(found, expected, atol=1e-3)


def test_boosted_trees_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TlkitError, match="arithmetic of HistGradientBoostingClassifier"):
        solved_heads.module(fitted("gradient_boosting", 2, 2), "run")


def test_a_run_with_a_solved_head_is_exported_whole_and_not_as_tensors(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    done = tlkit.apply(toy_recipe, ["head.kind=logistic", "backbone.weights=none"], runs=tmp_path / "runs")
    folder = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    network = torch.export.load(tlkit.export(folder, "torch-export", tmp_path / "out" / "net.pt2").file).module()
    x = np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), dtype=np.uint8)
    expected = loading.load(folder, arm=None, device=torch.device("cpu")).predict(x)
    with torch.no_grad():
        assert np.abs(network(torch.from_numpy(x)).numpy() - expected).max() < 1e-4
    with pytest.raises(TlkitError, match="has no tensors"):
        tlkit.export(folder, "safetensors", tmp_path / "out" / "net.safetensors")
