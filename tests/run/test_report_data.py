"""report.npz: what a run keeps to be shown, and that it is what the files of the run say."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toy_runs
from conftest import TOY_RECIPE
from safetensors.numpy import load_file
from sklearn.decomposition import PCA

from tlkit import api
from tlkit.engine.explanation import excitation, image_map
from tlkit.engine.explanation.image_map import ImageMap
from tlkit.record import predictions, report_data

ARMS = """
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
[arms.solved]
freeze = { backbone = true }
head = { kind = "logistic" }
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Run folders by arm; tests only read them."""
    folder = tmp_path_factory.mktemp("report_data")
    with toy_runs.applied(folder, TOY_RECIPE + ARMS) as done:
        yield {arm: done.folder / record["seeds"]["0"]["folder"] for arm, record in done.result["arms"].items()}


def test_kernels_are_those_of_the_weights_before_and_after(runs: dict[str, Path]) -> None:
    data = report_data.load(runs["finetune"])
    first, second = data.about["kernels"]
    assert (first["name"], first["stage"], second["name"]) == ("conv1", "stem", "block1.0")
    best = load_file(runs["finetune"] / "weights.safetensors")
    np.testing.assert_array_equal(data.arrays["kernel0_best"], best["conv1.weight"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(data.arrays["kernel1_best"], best["block1.0.weight"][0])
    before = report_data.load(runs["head_only"])
    np.testing.assert_array_equal(data.arrays["kernel0_before"], before.arrays["kernel0_before"])
    assert np.abs(data.arrays["kernel0_best"] - data.arrays["kernel0_before"]).max() > 0


def test_frozen_stage_has_kernels_and_a_change_of_exactly_zero(runs: dict[str, Path]) -> None:
    data = report_data.load(runs["head_only"])
    assert data.about["changes"].keys() == {"stem", "block1", "block2", "head"}
    assert {name for name, moved in data.about["changes"].items() if moved} == {"head"}
    for place in (0, 1):
        for when in ("last", "best"):
            np.testing.assert_array_equal(data.arrays[f"kernel{place}_{when}"], data.arrays[f"kernel{place}_before"])


def test_images_that_are_shown_are_the_most_wrong_and_the_most_and_least_confident_right_ones(runs: dict[str, Path]) -> None:
    data, found = report_data.load(runs["finetune"]), predictions.load(runs["finetune"]).part("test")
    assert data.about["split"] == "test"
    powers = np.exp(found.logits.astype(np.float64))
    own = (powers / powers.sum(1, keepdims=True))[np.arange(len(found.label)), found.label]
    right = found.logits.argmax(1) == found.label
    rows = {
        kind: [each["row"] for each in data.about["images"] if each["kind"] == kind] for kind in ("wrong", "sure", "unsure")
    }
    assert rows["wrong"] == [row for row in np.argsort(own, kind="stable").tolist() if not right[row]][:24]
    assert rows["sure"] == [row for row in np.argsort(-own, kind="stable").tolist() if right[row]][:8]
    assert set(rows["unsure"]) == {row for row in np.argsort(own, kind="stable").tolist() if right[row]} & set(rows["unsure"])
    assert len(data.arrays["images"]) == len(data.about["images"])
    assert data.arrays["grad_cam"].shape[0] == len(rows["wrong"])
    for each in data.about["images"]:
        assert each["position"] == found.index[each["row"]]


@pytest.mark.parametrize("arm", ["finetune", "head_only"])
def test_map_is_of_the_features_that_the_evaluation_of_the_best_epoch_gave_the_head(runs: dict[str, Path], arm: str) -> None:
    data, kept, found = report_data.load(runs[arm]), predictions.features(runs[arm]), predictions.load(runs[arm]).part("test")
    assert data is not None
    head = {name: load_file(runs[arm] / "weights.safetensors")[f"fc.{name}"] for name in ("weight", "bias")}
    expected = kept.values.astype(np.float64) @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(found.logits[kept.rows], expected, rtol=1e-5, atol=1e-5)
    points = PCA(2, svd_solver="full").fit_transform(kept.values.astype(np.float64))
    np.testing.assert_allclose(np.abs(data.arrays["map_points"]), np.abs(points), atol=1e-4)


def test_run_with_a_solved_head_is_shown_without_grad_cam(runs: dict[str, Path]) -> None:
    data = report_data.load(runs["solved"])
    assert "grad_cam" not in data.arrays
    assert data.about["notes"] == []
    assert "head" not in data.about["changes"]
    assert len(data.about["map"]["labels"]) == len(data.arrays["map_points"]) == 40
    assert {each["stage"] for each in data.about["excited"]} == {"stem", "block1", "block2"}
    assert data.arrays["patches"].shape == (len(data.about["excited"]), 9, 36, 36, 3)


def test_file_of_another_format_or_a_damaged_one_is_not_read(tmp_path: Path) -> None:
    assert report_data.load(tmp_path) is None
    for content in (b"", b"PK\x03\x04 no archive"):
        (tmp_path / report_data.FILE).write_bytes(content)
        assert report_data.load(tmp_path) is None
    np.savez(tmp_path / report_data.FILE, about=np.array(json.dumps({"format": 99})))
    assert report_data.load(tmp_path) is None


def test_pictures_that_fail_are_notes_and_the_run_is_finished(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the auxiliary classifiers, of UMAP, which is an extra, and of the patches, without which there is a map all the same."""

    def fails(*_: object) -> None:
        raise RuntimeError("out of memory\nwith a trace")

    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    monkeypatch.setattr("tlkit.run.report_data._add_aux_loss", fails)
    monkeypatch.setattr(excitation, "scan", fails)
    points = ImageMap("PCA", np.zeros((40, 2), np.float32), (0.5, 0.1), "ValueError: odd input")
    monkeypatch.setattr(image_map, "place", lambda _: points)
    done = api.apply(toy_recipe, "schedule.epochs=1", runs=toy_recipe.parent / "runs")
    assert done.failures == ()
    ((_, record),) = done.result["arms"].items()
    data = report_data.load(done.folder / record["seeds"]["0"]["folder"])
    assert data.about["notes"] == [
        "the loss of the auxiliary classifiers is missing: RuntimeError: out of memory",
        "The map is one of PCA: UMAP failed: ValueError: odd input",
        "some pictures are missing: RuntimeError: out of memory",
    ]
    assert len(data.about["map"]["labels"]) == 40
    assert "aux_loss" not in data.about
    assert data.about["images"]
