"""A kind of problem that tlkit does not have, a class for every pixel, trains end to end: a Task value, a head and a data set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image
from toy_training import training

from tlkit import tasks, testing
from tlkit.errors import PluginError
from tlkit.plugin import DataFiles, Dataset, Head, Images, Split, registry
from tlkit.run import loading
from tlkit.tasks import Metric, Predictions, Targets, Task
from tlkit.tasks.single_label import SINGLE_LABEL

SIDE, MASK = 16, 8  # of the pictures, and of the toy backbone's feature map


def holds(targets: object) -> bool:
    return isinstance(targets, np.ndarray) and targets.dtype == np.int64 and targets.ndim == 3


def count(targets: np.ndarray, classes: int) -> tuple[int, ...]:
    return tuple(int((targets == label).any((1, 2)).sum()) for label in range(classes))


def mix(own: torch.Tensor, other: torch.Tensor, shares: torch.Tensor, classes: int) -> torch.Tensor:
    mine, theirs = (torch.nn.functional.one_hot(each, classes).movedim(-1, 1).float() for each in (own, other))
    share = shares[:, None, None, None]
    return mine * share + theirs * (1 - share)


def example(shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)


def losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none").mean((1, 2))


def correct(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the pixels that have a class; those of class -100 have none. So how many there are depends on the image."""
    labels = targets if targets.ndim == 3 else targets.argmax(1)
    known = labels >= 0
    return ((logits.argmax(1) == labels) & known).sum(), known.sum()


def scores(predictions: Predictions) -> Mapping[str, float | None]:
    picked, there = predictions.chosen == 1, predictions.targets == 1
    return {"iou": float((picked & there).sum() / (picked | there).sum()), "never": None}


def details(predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    return {"pixels": {name: int((predictions.targets == label).sum()) for label, name in enumerate(names)}}


MASKS = Targets(
    words="a class for every pixel",
    array="(N, h, w) int64",
    holds=holds,
    problem=lambda targets, classes: () if targets.max() < classes else ("a pixel is out of range",),
    strata=lambda targets, names: (np.zeros(len(targets), np.int64), ("any",)),
    count=count,
    renumber=lambda targets, numbers, classes: np.array(numbers)[targets],
    batch=torch.from_numpy,
    mix=mix,
    example=example,
)
PIXELS = Task(
    name="pixels",
    head="pixels",
    targets=MASKS,
    outputs=SINGLE_LABEL.outputs,
    expand=SINGLE_LABEL.expand,
    loss=SINGLE_LABEL.loss,
    losses=losses,
    correct=correct,
    probabilities=SINGLE_LABEL.probabilities,
    chosen=SINGLE_LABEL.chosen,
    scores=scores,
    details=details,
    metrics={"iou": Metric("IoU")},
)


def build(features: int, classes: int, options: None) -> torch.nn.Module:
    return torch.nn.Conv2d(features, classes, 1)


def read(found: DataFiles, options: None) -> Images:
    """Grey noise with one bright square; the mask says where."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 80, (96, SIDE, SIDE, 3), dtype=np.uint8)
    masks = np.zeros((96, MASK, MASK), np.int64)
    for index, (top, left) in enumerate(generator.integers(0, MASK - 4, (96, 2))):
        masks[index, top : top + 4, left : left + 4] = 1
        pixels[index, 2 * top : 2 * top + 8, 2 * left : 2 * left + 8] += 120
    masks[:, 0, 0] = np.where(masks[:, 0, 0] == 0, -100, 1)
    parts = {"train": slice(0, 64), "test": slice(64, 96)}
    return Images(("ground", "square"), {name: Split(masks[part], pixels=pixels[part]) for name, part in parts.items()})


HEAD = Head(build=f"{__name__}:build", maps=True, task="pixels", summary="a class for every pixel of the feature map")
DATA = Dataset(read=f"{__name__}:read", summary="squares")

RECIPE = """\
format = 1
name = "squares"
[backbone]
name = "toy"
weights = "none"
[head]
kind = "pixels"
[data]
name = "squares"
image_size = 16
batch_size = 16
[freeze]
stem = { epochs = 2 }
[lr_groups]
backbone = 3e-2
head = 3e-2
[schedule]
epochs = 8
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of the new task, whose head and data set are installed."""
    monkeypatch.setitem(tasks.KINDS, "pixels", PIXELS)
    found = registry.scan()
    mine = (
        registry.Entry("tlkit.heads", "pixels", f"{__name__}:HEAD", "pixels", "1.0"),
        registry.Entry("tlkit.datasets", "squares", f"{__name__}:DATA", "pixels", "1.0"),
    )
    monkeypatch.setattr(registry, "scan", lambda: replace(found, entries=(*found.entries, *mine)))
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path / "r.toml"


def test_a_new_task_trains_end_to_end(recipe: Path, run: Cli) -> None:
    code, out, error = run("apply", recipe)
    assert code == 0, error
    (folder,) = (recipe.parent / "runs" / "squares").glob("main-*")
    test = json.loads((folder / "result.json").read_text())["test"]
    assert test.keys() == {"loss", "accuracy", "iou"}
    assert test["accuracy"] > 0.9
    assert test["iou"] > 0.7
    assert "IoU" in out
    assert json.loads((folder / "evaluation.json").read_text())["test"]["pixels"]["square"] == 32 * 16
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    images = read(DataFiles(Path(), ()), None)
    found = predictor.predict(images.splits["test"].pixels)
    assert found.shape == (32, 2, MASK, MASK)
    masks = images.splits["test"].targets
    known = masks >= 0
    assert (found.argmax(1) == masks)[known].mean() == pytest.approx(test["accuracy"], abs=1e-6)


def test_predict_shows_what_the_task_says(recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.array([[[0.9, 0.8]], [[0.1, 0.2]]], np.float32)
    (ground, square) = PIXELS.ranked(probabilities, ("ground", "square"))
    assert (ground[0], square[0]) == ("ground", "square")
    assert ground[1] == pytest.approx(0.85)
    assert run("apply", recipe, "--set", "schedule.epochs=3")[0] == 0
    Image.fromarray(np.full((SIDE, SIDE, 3), 40, np.uint8)).save(recipe.parent / "grey.png")
    monkeypatch.setitem(
        tasks.KINDS, "pixels", replace(PIXELS, ranked=lambda each, names: [(f"{names[1]} of {each.shape}", 0.5)])
    )
    code, out, error = run("predict", "squares", recipe.parent / "grey.png")
    assert code == 0, error
    assert f"square of (2, {MASK}, {MASK})" in out


def test_accuracy_of_an_epoch_is_over_the_predictions_that_count(recipe: Path) -> None:
    mine = training(recipe, "freeze={backbone=true, head=false}", "lr_groups={head=1e-9}", "schedule.epochs=1")
    (epoch,) = mine.fit.epochs()
    part = mine.prepared.train
    x = part.inputs(part.indices, 0, torch.device("cpu"))
    masks = part.targets(part.indices, 0, torch.device("cpu"))
    with torch.no_grad():
        chosen = mine.network.eval()(x).argmax(1)
    known = masks >= 0
    assert epoch.train["accuracy"] == pytest.approx(float((chosen == masks)[known].float().mean()), abs=2e-3)


def test_mixed_images_have_mixed_targets(recipe: Path) -> None:
    images = read(DataFiles(Path(), ()), None)
    own = torch.from_numpy(images.splits["train"].targets[:2]).clamp_min(0)
    soft = MASKS.mix(own, own.flip(0), torch.tensor([0.75, 0.75]), 2)
    assert torch.allclose(soft.sum(1), torch.ones(2, MASK, MASK))
    assert torch.isfinite(PIXELS.loss(torch.randn(2, 2, MASK, MASK), soft, 0.1, None))


def test_a_head_of_another_task_is_refused(recipe: Path, run: Cli) -> None:
    code, _, error = run("plan", recipe, "--set", "head.kind=linear")
    assert code == 1
    assert "the linear head learns one class per image, and squares has a class for every pixel" in error
    assert 'kind = "pixels"' in error


def test_the_contract_takes_a_head_whose_logits_are_maps(recipe: Path) -> None:
    assert "gives logits of 3 classes for maps" in list(testing.check("pixels"))
    with pytest.raises(PluginError, match=r"gives \(12, 3, 4, 4\) for \(12, 8, 4, 4\)"):
        list(testing.check_head(replace(HEAD, task="single_label")))
