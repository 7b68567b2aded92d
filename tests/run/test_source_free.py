"""[adapt] with "shot": a run's network is adapted to the target with target images alone, and its classifier stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_domains
from conftest import Cli
from safetensors.torch import load_file
from sklearn.preprocessing import normalize
from toy_observers import SignalAfter
from toy_training import training

from tlkit import api
from tlkit.errors import Interrupted
from tlkit.network.network import Network

TRAINED = toy_domains.recipe(
    data="batch_size = 8\n",
    adapt='method = "none"\n',
    more="[lr_groups]\nbackbone = 1e-2\nhead = 1e-2\n[schedule]\nepochs = 4\n",
).replace('"adapted"', '"source"')
SHOT = toy_domains.recipe(
    data="batch_size = 8\n",
    adapt='method = "shot"\nimages = "all"\n',
    more='[freeze]\nhead = true\n[lr_groups]\nbackbone = 1e-3\n[schedule]\nname = "constant"\nepochs = 2\n',
).replace('weights = "none"', 'weights = "run:source"')


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both domains, and a run on the source."""
    folder = tmp_path_factory.mktemp("trained")
    toy_domains.write(folder, TRAINED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        api.apply(folder / "r.toml", runs=folder)
    return folder


@pytest.fixture
def recipe(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "r.toml").write_text(SHOT)
    return tmp_path / "r.toml"


def run_of(folder: Path) -> Path:
    (found,) = folder.glob("adapted/main-*")
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def by_hand(network: Network, images: torch.Tensor) -> np.ndarray:
    """SHOT's pseudo-labels, eq. 4 to 6, with scikit-learn's norm: centroids of predictions, then of the labels that these give."""
    network.eval()
    with torch.no_grad():
        z = normalize(network.embed(images).double().numpy())
        weights = network(images).double().softmax(1).numpy()
    for _ in range(2):
        centroids = normalize(weights.T @ z / weights.sum(0)[:, None])
        labels = (z @ centroids.T).argmax(1)
        weights = np.eye(weights.shape[1])[labels]
    return labels


def test_a_step_is_that_of_plain_torch(recipe: Path) -> None:
    mine, plain = training(recipe), training(recipe).network
    for each in [*mine.network.modules(), *plain.modules()]:
        if isinstance(each, torch.nn.Dropout):
            each.p = 0.0
    train, target = mine.prepared.train, mine.prepared.evaluated.target
    images = target.part.inputs(target.part.indices, 0, torch.device("cpu"))
    assert mine.plan.images.train == len(images) == 36
    assert mine.plan.steps_per_epoch == 5  # of 8 images
    first: list[dict[str, torch.Tensor]] = []
    epochs = mine.fit.epochs(
        after_step=lambda: first.append(
            {name: each.grad.clone() for name, each in mine.network.named_parameters() if each.grad is not None}
        )
    )
    next(epochs)
    pseudo = by_hand(plain, images)
    np.testing.assert_array_equal(train.pseudo[target.part.indices], pseudo)
    order = train.order(0)[:8]
    plain.train()
    logits = plain(target.part.inputs(order, 0, torch.device("cpu")))
    p = logits.softmax(1)
    entropy, mean = -(p * p.log()).sum(1).mean(), p.mean(0)
    told = -p[torch.arange(8), torch.from_numpy(pseudo[np.searchsorted(target.part.indices, order)])].log().mean()
    (entropy + (mean * mean.log()).sum() + 0.3 * told).backward()
    trunk = {name: each.grad for name, each in plain.stages.named_parameters()}
    assert len(first[0]) == len(trunk)
    for name, grad in trunk.items():
        assert grad is not None
        torch.testing.assert_close(first[0][f"stages.{name}"], grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_classifier_stays_and_the_trunk_is_trained(recipe: Path) -> None:
    api.apply(recipe, runs=recipe.parent / "runs")
    (source,) = (recipe.parent / "source").glob("main-*/weights.safetensors")
    before, after = load_file(source), load_file(run_of(recipe.parent / "runs") / "weights.safetensors")
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    heads = {name for name in before if name.startswith("fc")}
    assert heads
    assert heads <= same
    assert same != set(before)


def test_no_training_image_of_the_source_is_read(recipe: Path) -> None:
    """They are all broken: the run decodes and compares the source's validation images alone."""
    (split,) = (recipe.parent / "source").glob("main-*/split.json")
    for file in json.loads(split.read_text())["train"]["files"]:
        (recipe.parent / "bright" / Path(file).parent.name / Path(file).name).write_bytes(b"no picture")
    api.apply(recipe, runs=recipe.parent / "runs")
    record = json.loads((run_of(recipe.parent / "runs") / "split.json").read_text())
    assert record["train"] == {"count": 0}
    assert record["adapt"]["count"] == 36
    assert record["skipped"] == []


@pytest.mark.parametrize("settings", [(), ("freeze.stem=true",)], ids=["whole", "stored"])
def test_a_run_that_was_stopped_within_an_epoch_goes_on_to_the_same_bits(
    recipe: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    """The pseudo-labels of the epoch are of weights that are gone by then."""
    settings = (*settings, "lr_groups.backbone=3e-2")
    api.apply(recipe, settings, runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        api.apply(recipe, settings, runs=tmp_path / "parts", observer=SignalAfter(2, step=3))
    api.apply(recipe, settings, runs=tmp_path / "parts")
    whole, parts = (run_of(tmp_path / name) for name in ("whole", "parts"))
    assert_same(load_file(whole / "weights.safetensors"), load_file(parts / "weights.safetensors"))
    lines = [
        [json.loads(line)["train"] for line in (each / "metrics.jsonl").read_text().splitlines()] for each in (whole, parts)
    ]
    assert lines[0] == lines[1]


def test_a_checkpoint_within_an_epoch_holds_its_pseudo_labels(recipe: Path) -> None:
    one, other = training(recipe), training(recipe)
    kept: list[tuple[dict[str, torch.Tensor], str]] = []

    def keep() -> None:
        kept.append(({name: tensor.clone() for name, tensor in one.fit.tensors().items()}, one.fit.scalars()))

    next(one.fit.epochs(after_step=keep))
    other.fit.resume_(*kept[2])
    assert torch.equal(kept[2][0]["epoch/pseudo_labels"], torch.from_numpy(other.prepared.train.pseudo))


def test_labels_of_the_target_decide_nothing(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(SHOT.replace("split = { per_class = 6 }\n", ""))  # which images it draws depends on labels
    files = sorted(path.relative_to(tmp_path / "dark") for path in (tmp_path / "dark").rglob("*.png"))
    for name, turn in (("right", 0), ("wrong", 1)):
        rows = [
            f"{file},{toy_domains.CLASSES[(index // 12 + turn) % 3]},{'test' if index % 4 else 'train'}"
            for index, file in enumerate(files)
        ]
        (tmp_path / "dark" / "labels.csv").write_text("\n".join(["path,label,part", *rows]) + "\n")
        settings = ['also.dark={ name="csv", options={ path="dark", split="part" } }', "adapt.images=train"]
        api.apply(recipe, settings, runs=tmp_path / name)
    one, other = (load_file(run_of(tmp_path / name) / "weights.safetensors") for name in ("right", "wrong"))
    assert_same(one, other)


def test_the_plan_says_what_is_trained_on(run: Cli, recipe: Path) -> None:
    code, out, error = run("plan", "r.toml")
    assert code == 0, error
    text = " ".join(out.split())
    assert "no image is trained on" in text
    assert "made anew at the beginning of each epoch" in text
    assert "train 36" in text
    assert "shot leaves the source behind" in " ".join((out + error).split())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["backbone.weights=none"], 'shot adapts what a run learned from the source, and backbone.weights is "none"'),
        (
            ["freeze={stem=true}", "lr_groups.head=1e-2"],
            "shot leaves the classifier as the source's images made it, and head trains",
        ),
        (["adapt.labels_per_class=2"], "shot uses no labels, and adapt.labels_per_class is 2"),
        (['data.augment=[{name="mixup"}]'], "shot gives each image a pseudo-label, and data.augment mixes images"),
        (["loss.class_weights=balanced"], "shot has the whole loss of a step, and [loss] is of labelled images"),
        (["lr_groups.backbone=auto"], 'lr_groups.backbone: is "auto", and a range test takes steps of the source'),
        (["head.kind=logistic"], "shot is trained by steps, and the logistic head is solved"),
    ],
)
def test_what_cannot_be_is_named(run: Cli, recipe: Path, settings: list[str], words: str) -> None:
    code, _, error = run("plan", "r.toml", *[each for setting in settings for each in ("--set", setting)])
    assert code == 1
    assert words in error


def test_a_run_of_other_classes_is_refused(run: Cli, recipe: Path) -> None:
    shutil.rmtree(recipe.parent / "bright" / "blue")
    shutil.rmtree(recipe.parent / "dark" / "blue")
    code, _, error = run("apply", "r.toml")
    assert code == 1
    assert "has no head of these classes" in error
    assert "Traceback" not in error
