"""Training images that are evaluated after every epoch, without augmentation and dropout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tlkit_toy_build import ToyNet
from toy_training import training

from tlkit import plugin
from tlkit.network.network import Network
from tlkit.plugin import DataFiles, Dataset, registry

MANY = ("data.options.train=400", "schedule.epochs=1")
FLIPPED = 'data.augment=[{name="hflip"}]'
CROPPED = 'data.augment=[{name="random_resized_crop"}]'


def _plain(network: Network, positions: np.ndarray) -> tuple[float, float]:
    """Loss and accuracy of the library's own network with the same weights on training images as they are."""
    dataset = registry.get(Dataset, "synthetic")
    options = dataset.options.model_validate({"classes": 4, "train": 400, "test": 40, "size": 16})
    split = plugin.call(dataset.read, DataFiles(Path(), ()), options).splits["train"]
    x = (torch.from_numpy(split.pixels[positions]).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    targets = torch.from_numpy(split.targets[positions])
    net = ToyNet().eval()
    net.load_state_dict({name.replace("head.", "fc."): tensor for name, tensor in network.tensors().items()})
    with torch.no_grad():
        logits = net(x)
    return float(torch.nn.functional.cross_entropy(logits, targets)), float((logits.argmax(1) == targets).float().mean())


@pytest.mark.parametrize("settings", [(), (FLIPPED,), (CROPPED,), ("freeze={backbone=true}",)])
def test_train_accuracy_is_that_of_the_images_without_augmentation_and_dropout(
    toy_recipe: Path, settings: tuple[str, ...]
) -> None:
    mine = training(toy_recipe, *MANY, *settings)
    (epoch,) = mine.fit.epochs()
    positions = mine.prepared.sample.indices
    assert set(positions.tolist()) <= set(mine.prepared.train.indices.tolist())
    loss, accuracy = _plain(mine.network, positions)
    assert epoch.train_evaluated["images"] == len(positions) <= 40
    assert epoch.train_evaluated["loss"] == pytest.approx(loss, rel=1e-4)
    assert epoch.train_evaluated["accuracy"] == pytest.approx(accuracy)
    assert epoch.record()["train_evaluated"] == epoch.train_evaluated


def test_training_is_the_same_with_and_without_such_images(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = training(toy_recipe, *MANY)
    (epoch,) = evaluated.fit.epochs()
    monkeypatch.setattr("tlkit.run.training_sample.choose", lambda *_, **__: None)
    plain = training(toy_recipe, *MANY)
    (other,) = plain.fit.epochs()
    assert epoch.train_evaluated is not None
    assert other.train_evaluated is None
    assert (epoch.train, epoch.test) == (other.train, other.test)
    for name, tensor in evaluated.network.tensors().items():
        assert torch.equal(tensor, plain.network.tensors()[name])


def test_few_training_images_are_not_evaluated_where_that_would_cost_much(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "data.options.train=80", "schedule.epochs=1")
    assert mine.prepared.sample is None  # 5 % of three passes over 80 images are 12
    (epoch,) = mine.fit.epochs()
    assert "train_evaluated" not in epoch.record()


def test_times_of_an_epoch_are_within_its_seconds(toy_recipe: Path) -> None:
    (epoch,) = training(toy_recipe, *MANY).fit.epochs()
    assert epoch.times.keys() == {"storing", "input", "prefix", "steps", "evaluation"}
    assert 0 < sum(epoch.times.values()) <= epoch.seconds
