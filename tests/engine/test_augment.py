"""Augmentation is a pure function of seed, epoch and image; normalising is torchvision's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop, functional

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.draws import Draw, Draws, uniform
from tlkit.engine.augment.draws import noise as bytes_of
from tlkit.engine.augment.windows import windows
from tlkit.engine.images.normalisation import normalise
from tlkit.plugin import IMAGENET, Convention
from tlkit.recipe import augmentations

IMAGES = np.arange(4000)
MANY = np.arange(20_000)


def pictures(count: int, side: int) -> torch.Tensor:
    """(count, side, side, 3) uint8, no two pixels of a picture alike in place: (y, x, image)."""
    x = torch.empty(count, side, side, 3, dtype=torch.uint8)
    x[..., 0] = torch.arange(side, dtype=torch.uint8)[None, :, None]
    x[..., 1] = torch.arange(side, dtype=torch.uint8)[None, None, :]
    x[..., 2] = torch.arange(count).remainder(256).to(torch.uint8)[:, None, None]
    return x


def noisy(count: int, height: int, width: int | None = None) -> torch.Tensor:
    """(count, height, width, 3) uint8 of every value, each picture another; square where one side is given."""
    shape = (count, height, width or height, 3)
    return torch.from_numpy(np.random.default_rng(height).integers(0, 256, shape, dtype=np.uint8))


def splitmix64(seed: int, *counters: int) -> float:
    """The generator in Python's own whole numbers."""
    state = seed
    for counter in counters:
        z = (state + (counter + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        state = z ^ (z >> 31)
    return (state >> 11) / 2**53


@pytest.mark.parametrize(("seed", "epoch", "draw"), [(0, 0, 0), (3, 1, 2), (2**31 - 1, 900, 175)])
def test_draws_are_splitmix64_of_seed_epoch_image_and_draw(seed: int, epoch: int, draw: int) -> None:
    images = np.array([0, 1, 49_999, 2**40])
    assert uniform(seed, epoch, images, draw).tolist() == [splitmix64(seed, epoch, int(image), draw) for image in images]


def test_every_draw_has_numbers_of_its_own() -> None:
    taken = [
        number
        for draw in Draw
        for number in range(draw, draw + (16 if draw.name.endswith(("AREAS", "RATIOS", "OPERATIONS", "SIGNS")) else 1))
    ]
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("draw", Draw)
def test_every_draw_is_uniform_over_images(draw: Draw) -> None:
    assert stats.kstest(uniform(1, 2, MANY, draw), "uniform").pvalue > 1e-3


def test_noise_is_every_byte_as_often_and_another_for_each_image() -> None:
    draws = Draws(0, 0, np.arange(40))
    noise = np.stack([bytes_of(draws.states(Draw.ERASE_NOISE)[[image]], 5001) for image in range(40)])
    assert stats.chisquare(np.bincount(noise.ravel(), minlength=256)).pvalue > 1e-3
    assert abs(np.corrcoef(noise)[~np.eye(40, dtype=bool)]).max() < 5 / 5001**0.5
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 5 / 200_000**0.5
    np.testing.assert_array_equal(bytes_of(draws.states(Draw.ERASE_NOISE)[[7]], 100), noise[7, :100])
    np.testing.assert_array_equal(bytes_of(Draws(0, 0, np.array([7])).states(Draw.ERASE_NOISE), 5001), noise[7])


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
    cropped = augment(x, augmentations.read(["random_crop"]), size=(9, 9), seed=0, epoch=0, images=np.arange(400))
    assert cropped.shape == (400, 9, 9, 3)
    assert cropped.dtype == torch.uint8
    top, left = cropped[:, 0, 0, 0].long(), cropped[:, 0, 0, 1].long()
    for index in range(400):
        assert torch.equal(cropped[index], x[index, top[index] : top[index] + 9, left[index] : left[index] + 9])
    assert {(int(y), int(x)) for y, x in zip(top, left, strict=True)} == {(y, x) for y in range(4) for x in range(4)}


def test_a_crop_with_padding_is_torchvisions_of_the_padded_picture_and_every_offset_is_drawn() -> None:
    x = noisy(400, 9)
    tables, colour = augmentations.read([{"name": "random_crop", "padding": 2}]), (124, 116, 104)
    cropped = augment(x, tables, size=(9, 9), seed=0, epoch=0, images=np.arange(400), fill=colour)
    draws, seen = Draws(0, 0, np.arange(400)), set()
    top, left = draws.below(Draw.CROP_Y, 5).tolist(), draws.below(Draw.CROP_X, 5).tolist()
    for picture, found, y, z in zip(x, cropped, top, left, strict=True):
        with Image.fromarray(picture.numpy()) as whole:
            expected = functional.crop(functional.pad(whole, [2], fill=colour), y, z, 9, 9)
        assert np.array_equal(found.numpy(), np.asarray(expected))
        seen.add((y, z))
    assert len(seen) == 25


def test_bands_are_padded_with_their_own_mean() -> None:
    x = torch.full((50, 4, 4, 2), 7.0)
    tables = augmentations.read([{"name": "random_crop", "padding": 1}])
    cropped = augment(x, tables, size=(4, 4), seed=0, epoch=0, images=np.arange(50), fill=(0.25, -1.5))
    assert cropped.dtype == torch.float32
    assert sorted(set(cropped[..., 0].flatten().tolist())) == [0.25, 7.0]
    assert sorted(set(cropped[..., 1].flatten().tolist())) == [-1.5, 7.0]


def test_a_flip_mirrors_about_half_of_the_pictures_and_leaves_the_others() -> None:
    x = pictures(400, 6)
    flipped = augment(x, augmentations.read(["hflip"]), size=(6, 6), seed=3, epoch=1, images=np.arange(400))
    mirrored = torch.tensor([torch.equal(flipped[index], x[index].flip(1)) for index in range(400)])
    untouched = torch.tensor([torch.equal(flipped[index], x[index]) for index in range(400)])
    assert (mirrored ^ untouched).all()
    assert 150 < int(mirrored.sum()) < 250  # five standard deviations


@pytest.mark.parametrize("epoch", [0, 3])
def test_crops_and_flips_are_those_of_the_first_versions_draws(epoch: int) -> None:
    x, images = pictures(60, 12), np.arange(60)
    changed = augment(x, augmentations.read(["random_crop", "hflip"]), size=(9, 9), seed=8, epoch=epoch, images=images)
    for image in range(60):
        top, left, flip = (splitmix64(8, epoch, image, draw) for draw in range(3))
        window = x[image, int(top * 4) : int(top * 4) + 9, int(left * 4) : int(left * 4) + 9]
        assert torch.equal(changed[image], window.flip(1) if flip < 0.5 else window)


def test_a_flip_has_its_own_chance() -> None:
    x = pictures(1, 2).expand(20_000, -1, -1, -1)
    for p in (0.0, 0.1, 1.0):
        (table,) = augmentations.read([{"name": "hflip", "p": p}])
        flipped = (augment(x, [table], size=(2, 2), seed=3, epoch=1, images=MANY)[:, 0, 0, 1] == 1).float().mean()
        assert abs(float(flipped) - p) <= 5 * (p * (1 - p) / 20_000) ** 0.5


EACH: list[dict[str, Any]] = [
    {"name": "random_crop"},
    {"name": "random_crop", "padding": 3},
    {"name": "random_resized_crop"},
    {"name": "random_resized_crop", "scale": [0.9, 1], "ratio": [0.2, 5]},  # often none of the attempts fits
    {"name": "hflip"},
    {"name": "vflip"},
    {"name": "elastic", "pixels": 3.0, "points": 4},
    {"name": "rotate"},
    {"name": "rotate", "degrees": 180.0},
    {"name": "rotate", "steps": 180},
    {"name": "color_jitter", "brightness": 0.9, "contrast": 0.8, "saturation": 1.0, "hue": 0.5},
    {"name": "color_jitter", "hue": 0},
    {"name": "random_erasing", "p": 0.8},
    {"name": "randaugment", "ops": 3, "magnitude": 14},
    {"name": "mixup"},
    {"name": "cutmix"},
]


def test_each_holds_every_augmentation() -> None:
    assert {table["name"] for table in EACH} == set(augmentations.NAMES)


@settings(deadline=None, max_examples=60)
@given(
    items=st.lists(st.sampled_from(EACH), max_size=3, unique_by=lambda item: item["name"]),
    shape=st.sampled_from([(8, 8), (13, 13), (9, 14), (12, 5)]),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 300),
    order=st.permutations(range(9)),
    size=st.integers(1, 9),
)
def test_a_batch_is_its_pictures_one_by_one_in_any_order(
    items: list[dict[str, Any]], shape: tuple[int, int], seed: int, epoch: int, order: list[int], size: int
) -> None:
    tables = [augmentations.read([item])[0] for item in items]
    room = 3 if augmentations.needs_room(tables) else 0
    if sum(augmentations.needs_room([table]) for table in tables) > 1:
        return
    x, images = noisy(9, shape[0] + room, shape[1] + room), np.array([0, 5, 6, 7, 1000, 49_999, 8, 9, 3])
    whole = augment(x, tables, size=shape, seed=seed, epoch=epoch, images=images)
    assert whole.shape == (9, *shape, 3)
    assert whole.dtype == torch.uint8
    torch.manual_seed(seed)
    np.random.seed(seed)
    for start in range(0, 9, size):
        chosen = order[start : start + size]
        part = augment(x[chosen], tables, size=shape, seed=seed, epoch=epoch, images=images[chosen])
        assert torch.equal(part, whole[chosen])


@pytest.mark.parametrize("item", EACH, ids=lambda item: "-".join(map(str, item.values())))
def test_large_pictures_come_out_the_same_in_any_batch_and_with_any_number_of_threads(item: dict[str, Any]) -> None:
    """Large enough that torch shares the work out among its threads, odd enough that vectors do not end with the pictures."""
    x, images, tables = noisy(4, 131), np.arange(4), augmentations.read([item])
    side = 117 if augmentations.needs_room(tables) else 131
    whole = augment(x, tables, size=(side, side), seed=1, epoch=0, images=images)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            again = [
                augment(x[i : i + 1], tables, size=(side, side), seed=1, epoch=0, images=images[i : i + 1]) for i in range(4)
            ]
            assert torch.equal(torch.cat(again), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "item", [item for item in EACH if item["name"] not in ("mixup", "cutmix")], ids=lambda item: item["name"]
)
def test_epochs_and_seeds_draw_anew_and_nothing_is_changed_in_place(item: dict[str, Any]) -> None:
    x, images, tables = noisy(64, 20), np.arange(64), augmentations.read([item])
    before, side = x.clone(), 14 if augmentations.needs_room(augmentations.read([item])) else 20
    outcomes = [
        augment(x, tables, size=(side, side), seed=seed, epoch=epoch, images=images) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        changed = (outcomes[first] != outcomes[second]).flatten(1).any(1)
        assert changed.float().mean() > 0.3
    assert torch.equal(x, before)


def test_augmentations_follow_each_other_as_listed() -> None:
    """Noise after a crop fills a window of it; before it, the crop may cut the window."""
    x, images = pictures(50, 20), np.arange(50)
    tables = augmentations.read(["random_crop", {"name": "random_erasing", "p": 1.0}])
    cropped = augment(x, tables[:1], size=(12, 12), seed=0, epoch=0, images=images)
    together = augment(x, tables, size=(12, 12), seed=0, epoch=0, images=images)
    assert torch.equal(together, augment(cropped, tables[1:], size=(12, 12), seed=0, epoch=0, images=images))
    assert not torch.equal(together, augment(x, tables[::-1], size=(12, 12), seed=0, epoch=0, images=images))


def test_windows_that_always_fit_are_even_in_area_and_in_the_logarithm_of_their_shape() -> None:
    drawn = windows(
        Draws(3, 0, MANY), (0.1, 0.5), (3 / 4, 4 / 3), size=(10_000, 10_000), first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS)
    )
    area, shape = drawn.height * drawn.width / 10_000**2, np.log(drawn.width / drawn.height)
    assert drawn.fits.all()
    assert stats.kstest(area, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(shape, stats.uniform(np.log(3 / 4), np.log(16 / 9)).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(area, shape)[0, 1]) < 5 / 20_000**0.5


def test_windows_of_the_usual_scale_are_distributed_as_torchvisions() -> None:
    drawn = windows(
        Draws(0, 0, MANY), (0.08, 1.0), (3 / 4, 4 / 3), size=(256, 256), first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS)
    )
    torch.manual_seed(0)
    blank = torch.zeros(3, 256, 256)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(4000)])
    for mine, expected in ((drawn.height, theirs[:, 0]), (drawn.width, theirs[:, 1])):
        assert stats.ks_2samp(mine, expected).pvalue > 1e-3
    assert drawn.fits.mean() > 0.999


def test_windows_that_never_fit_are_the_largest_of_a_permitted_shape() -> None:
    for ratio, expected in (((1.5, 2.0), (67, 100)), ((0.4, 0.5), (100, 50)), ((0.9, 1.1), (100, 100))):
        drawn = windows(
            Draws(0, 0, np.arange(50)), (1.0, 1.0), ratio, size=(100, 100), first=(Draw.WINDOW_AREAS, Draw.WINDOW_RATIOS)
        )
        lost = ~drawn.fits
        assert lost.any()
        assert {(int(h), int(w)) for h, w in zip(drawn.height[lost], drawn.width[lost], strict=True)} == {expected}


def test_windows_are_erased_in_part_of_the_pictures_and_filled_with_noise() -> None:
    x = torch.full((2000, 16, 16, 3), 7, dtype=torch.uint8)
    erased = augment(x, augmentations.read(["random_erasing"]), size=(16, 16), seed=5, epoch=0, images=np.arange(2000)) != 7
    touched = erased.flatten(1).any(1)
    assert abs(float(touched.float().mean()) - 0.25) < 5 * (0.25 * 0.75 / 2000) ** 0.5
    for each in erased[touched][:100].any(-1):
        rows, columns = each.any(1).nonzero()[:, 0], each.any(0).nonzero()[:, 0]
        window = each[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert float(window.float().mean()) > 0.9  # of noise three bytes in 256**3 are all the old ones
        assert 0.02 * 256 - 8 < window.numel() < 0.33 * 256 + 16  # sides are whole pixels


def test_brightness_factors_are_even_between_their_ends() -> None:
    (table,) = augmentations.read([{"name": "color_jitter", "brightness": 0.5, "contrast": 0, "saturation": 0, "hue": 0}])
    x = torch.full((20_000, 1, 1, 3), 100, dtype=torch.uint8)
    levels = augment(x, [table], size=(1, 1), seed=0, epoch=0, images=MANY)[:, 0, 0, 0].numpy()
    assert stats.chisquare(np.bincount(levels, minlength=150)[50:150]).pvalue > 1e-3  # 100 times 0.5 to 1.5, rounded down


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("item", EACH, ids=lambda item: "-".join(map(str, item.values())))
def test_pictures_stay_on_their_device_and_come_out_as_on_the_cpu(item: dict[str, Any]) -> None:
    x, images, tables = noisy(16, 40), np.arange(16), augmentations.read([item])
    side = 32 if augmentations.needs_room(tables) else 40
    here = augment(x, tables, size=(side, side), seed=1, epoch=0, images=images)
    there = augment(x.cuda(), tables, size=(side, side), seed=1, epoch=0, images=images)
    assert there.is_cuda
    # The CPU resizes bytes in whole numbers; a GPU multiplies and adds in one rounding where it samples between pixels.
    tolerance = {"random_resized_crop": 2, "rotate": 1, "elastic": 1}.get(item["name"], 0)
    assert int((there.cpu().int() - here.int()).abs().max()) <= tolerance


@pytest.mark.parametrize("convention", [IMAGENET, Convention(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))])
def test_normalising_is_torchvisions_to_tensor_and_normalize_bit_for_bit(convention: Convention) -> None:
    x = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 48, 1).repeat(1, 1, 1, 3)
    expected = torch.stack(
        [functional.normalize(functional.to_tensor(p.numpy()), list(convention.mean), list(convention.std)) for p in x]
    )
    mine = normalise(x, convention)
    assert mine.dtype == torch.float32
    assert mine.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mine, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_normalising_on_a_gpu_is_the_cpus_within_rounding() -> None:
    """Tests without one: tests/engine/test_device_batches.py."""
    x = noisy(3, 20)
    there = normalise(x.cuda(), IMAGENET)
    assert there.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(there.cpu(), normalise(x, IMAGENET), rtol=1e-6, atol=1e-6)


def test_caffe_wants_blue_first_0_to_255_minus_the_mean() -> None:
    caffe = Convention(channels="bgr", range=255.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0))
    pixel = torch.tensor([[[[255, 10, 0]]]], dtype=torch.uint8)  # red 255, green 10, blue 0
    assert normalise(pixel, caffe).flatten().tolist() == [0 - 104, 10 - 117, 255 - 123]


def test_mean_and_std_of_bgr_are_in_the_networks_order() -> None:
    convention = Convention(channels="bgr", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    pixel = torch.tensor([[[[51, 102, 204]]]], dtype=torch.uint8)
    expected = torch.tensor([(0.8 - 0.1) / 1, (0.4 - 0.2) / 2, (0.2 - 0.3) / 4])
    torch.testing.assert_close(normalise(pixel, convention).flatten(), expected)
