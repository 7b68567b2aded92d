"""mixup and cutmix: partners, shares, boxes and targets, each drawn for one image by itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tlkit.engine.augment.mix import Mixing, mix, mix_targets, mixing
from tlkit.recipe import augmentations
from tlkit.tasks.single_label import LABELS

MANY = np.arange(20_000)


def drawn(
    *items: str | dict[str, object], images: NDArray[np.int64] = MANY, side: int = 32, seed: int = 0, epoch: int = 0
) -> Mixing:
    return mixing(augmentations.read(list(items)), size=(side, side), seed=seed, epoch=epoch, images=images, among=MANY)


def by_hand() -> Mixing:
    """A mixup of 3/4, a cutmix of 2 by 3 pixels of 4 by 4, a cutmix without pixels, a mixup of nothing."""
    return Mixing(
        partners=np.array([9, 8, 7, 6]),
        cut=np.array([False, True, True, False]),
        boxes=np.array([[0, 0, 0, 0], [1, 0, 3, 3], [2, 2, 2, 4], [0, 0, 0, 0]]),
        shares=np.array([0.75, 10 / 16, 1.0, 0.0]),
    )


def test_images_are_mixed_as_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    x, partners = (torch.randn(4, 3, 4, 4, generator=generator) for _ in range(2))
    mixed = mix(x, partners, by_hand())
    torch.testing.assert_close(mixed[0], 0.75 * x[0] + 0.25 * partners[0])
    window = x[1].clone()
    window[:, 1:3, 0:3] = partners[1, :, 1:3, 0:3]
    assert torch.equal(mixed[1], window)
    assert torch.equal(mixed[2], x[2])
    assert torch.equal(mixed[3], partners[3])
    assert mixed.dtype == torch.float32


def test_targets_are_mixed_as_by_hand() -> None:
    soft = mix_targets(torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 0]), by_hand(), 3, kind=LABELS)
    expected = torch.tensor([[0.75, 0.25, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert torch.equal(soft, expected)
    assert soft.dtype == torch.float32


@settings(deadline=None, max_examples=100)
@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_rows_of_targets_sum_to_one(shares: list[float]) -> None:
    nothing = np.zeros((len(shares), 4), dtype=np.int64)
    made = Mixing(np.zeros(len(shares), dtype=np.int64), np.zeros(len(shares), dtype=bool), nothing, np.array(shares))
    labels = torch.arange(len(shares)) % 4
    assert torch.equal(mix_targets(labels, (labels + 1) % 4, made, 4, kind=LABELS).sum(1), torch.ones(len(shares)))
    assert torch.equal(mix_targets(labels, labels, made, 4, kind=LABELS), torch.nn.functional.one_hot(labels, 4).float())


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_shares_of_mixup_are_beta_distributed(alpha: float) -> None:
    made = drawn({"name": "mixup", "alpha": alpha})
    assert not made.cut.any()
    assert not made.boxes.any()
    assert stats.kstest(made.shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_boxes_of_cutmix_have_the_area_that_was_drawn_and_every_place() -> None:
    """A box that its edges do not cut has the area 1 - Beta(1, 1), up to whole pixels; a middle is even over the picture."""
    side = 1000
    made = drawn("cutmix", side=side)
    assert made.cut.all()
    top, left, bottom, right = made.boxes.T
    assert (made.boxes >= 0).all()
    assert (made.boxes <= side).all()
    np.testing.assert_allclose(made.shares, 1 - (bottom - top) * (right - left) / side**2, atol=1e-12)
    whole = (top > 0) & (bottom < side) & (left > 0) & (right < side)
    assert (bottom - top == right - left)[whole].all()
    small = whole & (bottom - top < 500)  # a middle at least 250 from the edges has none of these cut
    middle = ((top + bottom) / 2 >= 250) & ((top + bottom) / 2 < 750) & ((left + right) / 2 >= 250) & ((left + right) / 2 < 750)
    edge = (bottom - top)[small & middle] / side
    assert stats.kstest(edge**2, stats.uniform(0, 0.25).cdf).pvalue > 1e-3  # the share is even, so 1 - share is
    for first, last in ((top, bottom), (left, right)):
        tiny = (bottom - top < 100) & (first > 0) & (last < side)
        assert stats.kstest((first + last)[tiny] / 2, stats.uniform(50, 900).cdf).statistic < 0.08


def test_boxes_of_cutmix_have_the_shape_of_a_rectangle() -> None:
    made = mixing(augmentations.read(["cutmix"]), size=(200, 600), seed=0, epoch=0, images=MANY, among=MANY)
    top, left, bottom, right = made.boxes.T
    assert (bottom.max(), right.max()) == (200, 600)
    np.testing.assert_allclose(made.shares, 1 - (bottom - top) * (right - left) / 120_000, atol=1e-12)
    whole = (top > 0) & (bottom < 200) & (left > 0) & (right < 600)
    assert np.abs((right - left) / 3 - (bottom - top))[whole].max() <= 2


def test_partners_are_every_other_training_image_as_often_and_never_the_image_itself() -> None:
    among = np.array([2, 3, 11, 12, 40, 41, 42])
    images = np.repeat(among, 3000)
    counts = np.zeros((50, 50), dtype=int)
    for epoch in range(3000):
        made = mixing(augmentations.read(["mixup"]), size=(8, 8), seed=1, epoch=epoch, images=among, among=among)
        counts[among, made.partners] += 1
    assert counts.sum() == len(images)
    assert counts.diagonal().sum() == 0
    others = counts[np.ix_(among, among)][~np.eye(7, dtype=bool)].reshape(7, 6)
    assert all(stats.chisquare(row).pvalue > 1e-4 for row in others)


def test_an_image_outside_the_training_images_may_have_any_partner() -> None:
    for images in (np.arange(100, 1100), np.arange(1000)):
        made = mixing(augmentations.read(["cutmix"]), size=(8, 8), seed=0, epoch=0, images=images, among=np.array([5000, 5001]))
        assert set(made.partners.tolist()) == {5000, 5001}


def test_a_single_training_image_is_its_own_partner() -> None:
    made = mixing(augmentations.read(["mixup"]), size=(8, 8), seed=0, epoch=0, images=np.array([4]), among=np.array([4]))
    assert made.partners.tolist() == [4]


def test_of_mixup_and_cutmix_each_image_draws_one() -> None:
    both, mixup, cutmix = drawn("mixup", "cutmix"), drawn("mixup"), drawn("cutmix")
    assert abs(both.cut.mean() - 0.5) < 5 / 2 / 20_000**0.5
    np.testing.assert_array_equal(both.shares[~both.cut], mixup.shares[~both.cut])
    np.testing.assert_array_equal(both.boxes[both.cut], cutmix.boxes[both.cut])
    np.testing.assert_array_equal(both.partners, mixup.partners)
    assert abs(np.corrcoef(both.cut, mixup.shares)[0, 1]) < 5 / 20_000**0.5


def test_nothing_is_mixed_where_neither_is_named() -> None:
    assert mixing(augmentations.read(["hflip"]), size=(8, 8), seed=0, epoch=0, images=MANY, among=MANY) is None


@settings(deadline=None, max_examples=60)
@given(
    items=st.sampled_from([["mixup"], ["cutmix"], ["mixup", "cutmix"], ["cutmix", "hflip", "mixup"]]),
    seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 500), order=st.permutations(range(10)), size=st.integers(1, 10),
)  # fmt: skip
def test_mixing_a_batch_is_mixing_its_images_one_by_one_in_any_order(
    items: list[str], seed: int, epoch: int, order: list[int], size: int
) -> None:
    images = np.array([3, 1, 4, 15, 92, 65, 35, 8, 9, 7])
    generator = torch.Generator().manual_seed(0)
    x, partners = (torch.randn(10, 3, 7, 7, generator=generator) for _ in range(2))
    labels, others = (torch.randint(0, 5, (10,), generator=generator) for _ in range(2))
    whole = drawn(*items, images=images, side=7, seed=seed, epoch=epoch)
    mixed, soft = mix(x, partners, whole), mix_targets(labels, others, whole, 5, kind=LABELS)
    for start in range(0, 10, size):
        chosen = order[start : start + size]
        part = drawn(*items, images=images[chosen], side=7, seed=seed, epoch=epoch)
        np.testing.assert_array_equal(part.partners, whole.partners[chosen])
        assert torch.equal(mix(x[chosen], partners[chosen], part), mixed[chosen])
        assert torch.equal(mix_targets(labels[chosen], others[chosen], part, 5, kind=LABELS), soft[chosen])


def test_epochs_and_seeds_mix_anew() -> None:
    first = drawn("mixup")
    for other in (drawn("mixup", epoch=1), drawn("mixup", seed=1)):
        assert (first.partners != other.partners).mean() > 0.99
        assert abs(np.corrcoef(first.shares, other.shares)[0, 1]) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize("alpha", [1e-6, 100.0])
def test_the_ends_of_alpha_give_shares(alpha: float) -> None:
    for name in ("mixup", "cutmix"):
        made = drawn({"name": name, "alpha": alpha})
        assert ((made.shares >= 0) & (made.shares <= 1)).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_are_mixed_on_their_device_as_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    x, partners = (torch.randn(64, 3, 9, 9, generator=generator) for _ in range(2))
    labels = torch.arange(64) % 7
    made = drawn("mixup", "cutmix", images=np.arange(64), side=9)
    there = mix(x.cuda(), partners.cuda(), made)
    assert there.is_cuda
    assert torch.equal(there.cpu(), mix(x, partners, made))
    soft = mix_targets(labels.cuda(), labels.flip(0).cuda(), made, 7, kind=LABELS)
    assert torch.equal(soft.cpu(), mix_targets(labels, labels.flip(0), made, 7, kind=LABELS))
