"""Augmentation is a pure function of seed, epoch and image; normalising is torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from tlkit.engine.augment import augment, uniform
from tlkit.engine.data import normalise
from tlkit.plugin import IMAGENET, Convention

IMAGES = np.arange(4000)


def pictures(count: int, side: int) -> torch.Tensor:
    """(count, side, side, 3) uint8, no two pixels of a picture alike in place: (y, x, image)."""
    x = torch.empty(count, side, side, 3, dtype=torch.uint8)
    x[..., 0] = torch.arange(side, dtype=torch.uint8)[None, :, None]
    x[..., 1] = torch.arange(side, dtype=torch.uint8)[None, None, :]
    x[..., 2] = torch.arange(count).remainder(256).to(torch.uint8)[:, None, None]
    return x


def test_draws_depend_on_seed_epoch_image_and_draw_and_on_nothing_else() -> None:
    first = uniform(1, 2, IMAGES, 0)
    np.testing.assert_array_equal(first, uniform(1, 2, IMAGES, 0))
    for other in (uniform(2, 2, IMAGES, 0), uniform(1, 3, IMAGES, 0), uniform(1, 2, IMAGES, 1), uniform(2, 1, IMAGES, 0)):
        assert (first != other).all()
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.06  # 1/sqrt(4000) is 0.016


def test_draws_of_an_image_are_its_own_whatever_is_drawn_beside_it() -> None:
    order = np.random.default_rng(0).permutation(IMAGES)
    whole = uniform(5, 1, order, 2)
    for chosen in (order[:1], order[7:20], order[::3]):
        np.testing.assert_array_equal(uniform(5, 1, chosen, 2), whole[np.isin(order, chosen)])


def test_draws_are_uniform_without_repeats() -> None:
    x = np.concatenate(
        [uniform(seed, epoch, IMAGES, draw) for seed in (0, 1, 2**31 - 1) for epoch in (0, 9) for draw in (0, 1, 2)]
    )
    assert x.min() >= 0
    assert x.max() < 1
    assert len(np.unique(x)) == len(x) == 72_000
    assert abs(x.mean() - 1 / 2) < 5 * (1 / 12 / len(x)) ** 0.5
    assert abs(x.var() - 1 / 12) < 0.002
    counts = np.histogram(x, bins=100, range=(0, 1))[0]
    assert ((counts - 720) ** 2 / 720).sum() < 99 + 5 * (2 * 99) ** 0.5  # chi-squared with 99 degrees of freedom
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / len(x) ** 0.5


def test_a_crop_is_a_window_of_its_picture_and_every_offset_is_drawn() -> None:
    x = pictures(400, 12)
    cropped = augment(x, ["random_crop"], side=9, seed=0, epoch=0, images=np.arange(400))
    assert cropped.shape == (400, 9, 9, 3)
    assert cropped.dtype == torch.uint8
    top, left = cropped[:, 0, 0, 0].long(), cropped[:, 0, 0, 1].long()
    for index in range(400):
        assert torch.equal(cropped[index], x[index, top[index] : top[index] + 9, left[index] : left[index] + 9])
    assert {(int(y), int(x)) for y, x in zip(top, left, strict=True)} == {(y, x) for y in range(4) for x in range(4)}


def test_a_flip_mirrors_about_half_of_the_pictures_and_leaves_the_others() -> None:
    x = pictures(400, 6)
    flipped = augment(x, ["hflip"], side=6, seed=3, epoch=1, images=np.arange(400))
    mirrored = torch.tensor([torch.equal(flipped[index], x[index].flip(1)) for index in range(400)])
    untouched = torch.tensor([torch.equal(flipped[index], x[index]) for index in range(400)])
    assert (mirrored ^ untouched).all()
    assert 150 < int(mirrored.sum()) < 250  # five standard deviations


@pytest.mark.parametrize("names", [["random_crop"], ["hflip"], ["random_crop", "hflip"], ["hflip", "random_crop"], []])
def test_a_picture_comes_out_the_same_in_any_batch(names: list[str]) -> None:
    x, images = pictures(40, 11), np.arange(100, 140)
    side = 8 if "random_crop" in names else 11
    whole = augment(x, names, side=side, seed=2, epoch=5, images=images)
    order = np.random.default_rng(1).permutation(40)
    for start in range(0, 40, 7):
        chosen = order[start : start + 7]
        part = augment(x[chosen], names, side=side, seed=2, epoch=5, images=images[chosen])
        assert torch.equal(part, whole[chosen])


def test_epochs_and_seeds_draw_anew() -> None:
    x, images = pictures(64, 12), np.arange(64)
    outcomes = [
        augment(x, ["random_crop", "hflip"], side=8, seed=seed, epoch=epoch, images=images)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        changed = (outcomes[first] != outcomes[second]).flatten(1).any(1)
        assert changed.float().mean() > 0.9


def test_pictures_are_not_changed_in_place() -> None:
    x = pictures(8, 12)
    before = x.clone()
    augment(x, ["random_crop", "hflip"], side=10, seed=0, epoch=0, images=np.arange(8))
    augment(x, ["hflip"], side=12, seed=0, epoch=0, images=np.arange(8))
    normalise(x, IMAGENET)
    assert torch.equal(x, before)


@pytest.mark.parametrize("convention", [IMAGENET, Convention(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))])
def test_normalising_is_torchvisions_to_tensor_and_normalize_bit_for_bit(convention: Convention) -> None:
    x = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 48, 1).repeat(1, 1, 1, 3)
    expected = torch.stack(
        [functional.normalize(functional.to_tensor(p.numpy()), list(convention.mean), list(convention.std)) for p in x]
    )
    mine = normalise(x, convention)
    assert mine.dtype == torch.float32
    assert mine.is_contiguous()
    assert torch.equal(mine, expected)


def test_caffe_wants_blue_first_0_to_255_minus_the_mean() -> None:
    caffe = Convention(channels="bgr", range=255.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0))
    pixel = torch.tensor([[[[255, 10, 0]]]], dtype=torch.uint8)  # red 255, green 10, blue 0
    assert normalise(pixel, caffe).flatten().tolist() == [0 - 104, 10 - 117, 255 - 123]


def test_mean_and_std_of_bgr_are_in_the_networks_order() -> None:
    convention = Convention(channels="bgr", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    pixel = torch.tensor([[[[51, 102, 204]]]], dtype=torch.uint8)
    expected = torch.tensor([(0.8 - 0.1) / 1, (0.4 - 0.2) / 2, (0.2 - 0.3) / 4])
    torch.testing.assert_close(normalise(pixel, convention).flatten(), expected)
