"""The first convolution takes any number of bands, and weights of three colours are carried over as timm carries them."""

from pathlib import Path

import pytest
import timm.models
import torch
from tlkit_toy import toy
from tlkit_toy_build import ToyNet
from torch import nn

from tlkit.errors import TlkitError
from tlkit.network import building, input_layer, weights
from tlkit.network.network import Network
from tlkit.network.stages import Rescale, Stage
from tlkit.plugin import IMAGENET, Head, registry


def network_of(channels: int, seed: int = 0) -> Network:
    head = registry.get(Head, "linear")
    return building.build(
        toy,
        head,
        classes=4,
        backbone_options=None,
        head_options=head.options(),
        seed=seed,
        image_size=(16, 16),
        channels=channels,
    )


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_weights_are_carried_over_as_timm_does(channels: int) -> None:
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(channels))
    torch.testing.assert_close(
        input_layer.carried_over(weight, channels), timm.models.adapt_input_conv(channels, weight), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("channels", [1, 3, 6, 12])
def test_response_to_the_same_value_in_all_channels_stays(channels: int) -> None:
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    grey = torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    found, expected = (
        nn.functional.conv2d(grey.expand(-1, each.shape[1], -1, -1), each)
        for each in (input_layer.carried_over(weight, channels), weight)
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 13])
def test_loaded_weights_are_those_of_the_file_with_the_first_carried_over(tmp_path: Path, channels: int) -> None:
    theirs = ToyNet(4).state_dict()
    torch.save(theirs, tmp_path / "toy.pth")
    network = network_of(channels)
    weights.load_(network, tmp_path / "toy.pth", backbone=toy, name="toy")
    mine = network.tensors()
    expected = timm.models.adapt_input_conv(channels, theirs["conv1.weight"].clone())
    torch.testing.assert_close(mine["conv1.weight"], expected, rtol=0, atol=1e-6)
    assert all(
        torch.equal(mine[name], tensor)
        for name, tensor in theirs.items()
        if name != "conv1.weight" and not name.startswith("fc.")
    )


def test_a_file_of_as_many_bands_is_taken_as_it_is(tmp_path: Path) -> None:
    theirs = network_of(13, seed=5).tensors()
    torch.save({name: tensor for name, tensor in theirs.items() if not name.startswith("head.")}, tmp_path / "bands.pth")
    network = network_of(13)
    weights.load_(network, tmp_path / "bands.pth", backbone=toy, name="toy")
    assert torch.equal(network.tensors()["conv1.weight"], theirs["conv1.weight"])


def test_random_weights_depend_on_the_seed_and_keep_the_variance_of_the_output() -> None:
    one, same, other = network_of(48), network_of(48), network_of(48, seed=1)
    name = "conv1.weight"
    assert torch.equal(one.tensors()[name], same.tensors()[name])
    assert not torch.equal(one.tensors()[name], other.tensors()[name])
    ratio = one.tensors()[name].std() / network_of(3).tensors()[name].std()
    assert float(ratio) == pytest.approx((3 / 48) ** 0.5, rel=0.05)
    assert torch.equal(one.tensors()["block1.0.weight"].std() > 0, torch.tensor(True))


def test_three_channels_leave_a_network_as_it_is() -> None:
    mine = network_of(3).tensors()
    torch.manual_seed(0)
    assert torch.equal(mine["conv1.weight"], ToyNet(4).state_dict()["conv1.weight"])


def test_a_network_that_cannot_take_bands_says_so() -> None:
    convolution = nn.Conv2d(3, 4, 3)
    stages = {"stem": Stage({"rescale": Rescale(IMAGENET, mean=0.5, std=0.5), "conv": convolution})}
    with pytest.raises(TlkitError, match=r"data.channels: some.net changes the mean of three colours .* cannot take 13"):
        input_layer.widen_(stages, 13, backbone="some.net")
    with pytest.raises(TlkitError, match="does not begin with a convolution of three colours"):
        input_layer.widen_({"stem": Stage({"linear": nn.Linear(3, 4)})}, 2, backbone="some.net")
    input_layer.widen_(stages, 3, backbone="some.net")
