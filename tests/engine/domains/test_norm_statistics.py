"""BatchNorm's statistics of another domain: those of all its images, by numpy and by torch's own layer."""

import numpy as np
import pytest
import torch
from torch import nn

from tlkit.engine.domains import norm_statistics as adabn


def test_statistics_are_those_of_all_target_images() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    images = torch.randn(10, 3, 4, 4, generator=torch.manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0])[:, None, None] + 5
    layers = adabn.replace_statistics_(network.train(), images.split([4, 4, 2]))
    assert layers == 1
    values = images.numpy().transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(network[0].running_mean, values.mean(1), rtol=1e-6)
    np.testing.assert_allclose(network[0].running_var, values.var(1, ddof=1), rtol=1e-6)
    assert network.training
    assert network[2].training
    assert network[0].num_batches_tracked == 0


def test_of_one_batch_statistics_are_torchs() -> None:
    """A forward pass of training with a momentum of 1 keeps the statistics of its batch."""
    made = [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)) for _ in "ab"
    ]
    made[1].load_state_dict(made[0].state_dict())
    images = torch.randn(6, 3, 9, 9, generator=torch.manual_seed(0))
    before = {name: value.clone() for name, value in made[0].named_parameters()}
    assert adabn.replace_statistics_(made[0].eval(), [images]) == 2
    for place in (1, 4):
        made[1][place].momentum = 1.0
    made[1].train()(images)
    for place in (1, 4):
        torch.testing.assert_close(made[0][place].running_mean, made[1][place].running_mean)
        torch.testing.assert_close(made[0][place].running_var, made[1][place].running_var)
    assert not made[0].training
    assert all(torch.equal(value, before[name]) for name, value in made[0].named_parameters())


def test_no_target_image_is_an_error_and_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2)).eval()
    with pytest.raises(ValueError, match="no batch"):
        adabn.replace_statistics_(network, [])
    assert network[0].running_var.tolist() == [1.0, 1.0]
    assert not network[0].training
