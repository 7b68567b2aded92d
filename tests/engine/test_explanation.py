"""What is shown of a network, against computations of another kind."""

import importlib.machinery
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tlkit_toy import toy, toy_maps
from torch import nn
from toy_training import training

from tlkit.engine.evaluate import evaluating
from tlkit.engine.explanation import excitation, grad_cam, image_map, kernels, principal_components
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.network.stages import Stage


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    stem = Stage({"conv1": nn.Conv2d(3, 6, 3, padding=1), "relu": nn.ReLU()})
    body = Stage({"conv2": nn.Conv2d(6, 5, 3, padding=1), "pool": nn.MaxPool2d(2)})
    return Network({"stem": stem, "body": body}, nn.Linear(5, 3))


def test_grad_cam_of_a_linear_head_is_the_class_activation_map(network: Network) -> None:
    x, classes = torch.randn(4, 3, 8, 8), torch.tensor([0, 2, 1, 1])
    found = grad_cam.grad_cam(network, x, classes)
    with torch.no_grad():  # Zhou et al. 2016: the weights of the class times the activations
        maps = torch.einsum("nc,nchw->nhw", network.head.weight[classes], network.run(x)).relu()
    expected = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_grad_cam_of_a_head_of_several_stages_is_that_of_the_last_map() -> None:
    network = building.build(toy, toy_maps, classes=3, backbone_options=None, head_options=None, seed=0)
    x, classes = torch.randn(4, 3, 16, 16), torch.tensor([0, 2, 1, 1])
    found = grad_cam.grad_cam(network, x, classes)
    with torch.no_grad(), evaluating(network):  # the weights of the class for that map's mean, as above
        maps = torch.einsum("nc,nchw->nhw", network.head.fc.weight[classes, 4:], network.carry(x).last).relu()
    expected = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_first_kernels_are_the_weights_as_pictures(network: Network) -> None:
    filters, channels = kernels.first(network)
    assert (filters.name, filters.what, filters.values.shape) == ("conv1", "filters", (6, 3, 3, 3))
    np.testing.assert_array_equal(filters.values[4, 1, 2], network.stages["stem"].conv1.weight[4, :, 1, 2].detach().numpy())
    assert (channels.name, channels.what) == ("conv2", "channels")
    np.testing.assert_array_equal(channels.values[5], network.stages["body"].conv2.weight[0, 5].detach().numpy())


def test_change_of_a_stage_is_its_relative_norm_and_zero_where_it_is_frozen(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "freeze={stem=true}", "schedule.epochs=1")
    before = training(toy_recipe).network
    list(mine.fit.epochs())
    found = kernels.change(before, mine.network)
    assert found["stem"] == 0.0
    old, new = ([p.detach() for p in each.stages["block2"].parameters()] for each in (before, mine.network))
    moved = torch.cat([(a - b).flatten() for a, b in zip(old, new, strict=True)]).norm()
    assert found["block2"] == pytest.approx(float(moved / torch.cat([p.flatten() for p in old]).norm()), rel=1e-5)
    assert found.keys() == {"stem", "block1", "block2", "head"}


def test_map_is_that_of_scikit_learn() -> None:
    features = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32) * np.linspace(3, 1, 20, dtype=np.float32)
    points, shares = principal_components.project(features)
    known = PCA(2, svd_solver="full").fit(features)
    np.testing.assert_allclose(np.abs(points), np.abs(known.transform(features)), atol=1e-4)
    np.testing.assert_allclose(shares, known.explained_variance_ratio_, rtol=1e-5)


def install_umap(stand_in: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a module umap that has a stand-in for UMAP."""
    module = types.ModuleType("umap")
    module.__spec__ = importlib.machinery.ModuleSpec("umap", None)
    vars(module)["UMAP"] = stand_in
    monkeypatch.setitem(sys.modules, "umap", module)


def test_map_is_that_of_umap_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in has its interface: umap-learn compiles for half a minute."""
    asked: dict[str, int] = {}

    class Umap:
        def __init__(self, **options: int) -> None:
            asked.update(options)

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            assert np.isfinite(features).all()
            return features[:, :2] * 3

    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    assert image_map.place(features).method == "PCA"
    install_umap(Umap, monkeypatch)
    found = image_map.place(features)
    assert (found.method, found.explained) == ("UMAP", ())
    np.testing.assert_array_equal(found.points, features[:, :2] * 3)
    assert asked == {"n_neighbors": 15, "random_state": 0, "n_jobs": 1}  # the same map every time
    assert image_map.place(features[:15]).method == "PCA"


def test_map_is_one_of_pca_where_umap_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises errors of many types, and its warnings are nothing to whoever trains."""

    class Umap:
        def __init__(self, **_: int) -> None:
            warnings.warn("n_jobs value 1 overridden to 1 by setting random_state", UserWarning, stacklevel=1)

        def fit_transform(self, _: np.ndarray) -> np.ndarray:
            raise TypeError("Expected int64\nbut got none")

    install_umap(Umap, monkeypatch)
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    found = image_map.place(features)
    assert (found.method, found.why_not_umap) == ("PCA", "TypeError: Expected int64")
    np.testing.assert_array_equal(found.points, principal_components.project(features)[0])


def test_patch_that_excites_a_channel_is_where_its_pattern_is() -> None:
    conv = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.ones(1, 3, 3, 3))
    network = Network({"stem": Stage({"conv": conv})}, nn.Linear(1, 2))
    images = torch.zeros(12, 3, 16, 16)
    for place in range(12):
        images[place, :, 4:7, 9:12] = float(place)  # the brighter, the more exciting; its centre is (5, 10)
    found = excitation.excited(network, images.__getitem__, excitation.scan(network, images.split(5)))
    (channel,) = found
    assert channel.images == tuple(range(11, 2, -1))
    box = channel.boxes[0]
    assert (box.top + box.height / 2, box.left + box.width / 2) == (pytest.approx(5.5 / 16), pytest.approx(10.5 / 16))
    assert box.height <= 5 / 16


def test_scan_finds_the_highest_activation_of_each_channel(network: Network) -> None:
    x = torch.randn(7, 3, 8, 8)
    seen = excitation.scan(network, x.split(3))
    network.eval()
    with torch.no_grad():
        highest = network.stages["stem"](x).amax((2, 3)).numpy()
    np.testing.assert_allclose(seen.highest["stem"], highest, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e18, 1e37])
def test_network_whose_activations_overflow_is_explained_all_the_same(network: Network, scale: float) -> None:
    with torch.no_grad():
        network.stages["body"].conv2.weight.mul_(scale)
    x = torch.randn(12, 3, 8, 8)
    seen = excitation.scan(network, x.split(5))
    with torch.no_grad():
        points, _ = principal_components.project(network.read(network.run(x)).numpy())
    excitation.excited(network, x.__getitem__, seen)
    maps = grad_cam.grad_cam(network, x, torch.zeros(12, dtype=torch.int64))
    assert np.isfinite(points).all()
    assert maps is not None
    assert torch.isfinite(maps).all()
