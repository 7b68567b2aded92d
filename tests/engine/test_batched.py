"""Augmentations of a whole batch: the pictures of the CPU's form, few operators, nothing read from the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from test_augment import EACH, noisy
from torch import Tensor
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there

from tlkit.engine.augment.augment import augment
from tlkit.engine.augment.batched import Batched, as_arrays
from tlkit.engine.augment.draws import Draws
from tlkit.engine.augment.parameters import Parameters, parameters
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation

CPU = torch.device("cpu")
FILL = (124, 116, 104)
# Kernels of a batch: 769 of random_resized_crop, 491 of randaugment and 394 of color_jitter were counted for 128 pictures one by one.
MOST = {
    "random_crop": 10, "random_resized_crop": 42, "hflip": 2, "vflip": 2, "rotate": 30, "elastic": 30, "color_jitter": 260, "random_erasing": 50,
    "randaugment": 210, "mixup": 0, "cutmix": 0,
}  # fmt: skip


def drawn(
    tables: Sequence[Augmentation], images: np.ndarray, *, held: int, side: int, seed: int = 1
) -> tuple[list[dict[str, Tensor]], list[Parameters]]:
    """What a device has of the parameters, and the parameters."""
    found = parameters(tables, Draws(seed, 0, images), held=(held, held), size=(side, side), shapes=None)
    arrays = [as_arrays(table, each) for table, each in zip(tables, found, strict=True)]
    return [{name: torch.from_numpy(array) for name, array in each.items()} for each in arrays], found


def batched(x: Tensor, tables: Sequence[Augmentation], images: np.ndarray, *, side: int, seed: int = 1) -> Tensor:
    held = x.shape[1]
    form = Batched(tables, held=(held, held), size=(side, side), fill=FILL, device=CPU)
    return form(x, *drawn(tables, images, held=held, side=side, seed=seed))


def smooth(count: int, side: int) -> Tensor:
    """Pictures with edges and slopes, so that a pixel beside the right one shows."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(7 * (i % 5 + 1) * x + i) + np.cos(5 * (i % 3 + 1) * y * (c + 1)) for i in range(count) for c in range(3)]
    levels = np.stack(waves).reshape(count, 3, side, side).transpose(0, 2, 3, 1)
    return torch.from_numpy(((levels + 2) / 4 * 255).astype(np.uint8))


@pytest.mark.parametrize("make", [noisy, smooth])
@pytest.mark.parametrize("item", EACH, ids=lambda item: "-".join(map(str, item.values())))
def test_both_forms_give_the_same_pictures_within_a_grey_level(item: dict[str, Any], make: Any) -> None:
    tables, images = augmentations.read([item]), np.arange(40, 88)
    side = 33 if augmentations.needs_room(tables) else 47
    x = make(48, 47)
    expected = augment(x, tables, size=(side, side), seed=1, epoch=0, images=images, fill=FILL)
    found = batched(x, tables, images, side=side)
    assert found.dtype == torch.uint8
    assert found.shape == expected.shape
    if item["name"] == "random_resized_crop":
        assert int((found.int() - expected.int()).abs().max()) <= 1
    else:  # the same arithmetic on the same numbers
        assert torch.equal(found, expected)


@pytest.mark.parametrize("held", [64, 150])
def test_resized_windows_are_the_cpus_at_any_size_of_the_picture(held: int) -> None:
    tables, images = augmentations.read(["random_resized_crop"]), np.arange(40)
    x = noisy(40, held)
    expected = augment(x, tables, size=(32, 32), seed=1, epoch=0, images=images)
    assert int((batched(x, tables, images, side=32).int() - expected.int()).abs().max()) <= 1


def test_several_augmentations_follow_each_other_in_both_forms() -> None:
    tables = augmentations.read(["hflip", "random_crop", "randaugment", {"name": "rotate", "steps": 90}, "random_erasing"])
    x, images = noisy(32, 40), np.arange(32)
    assert torch.equal(
        batched(x, tables, images, side=32), augment(x, tables, size=(32, 32), seed=1, epoch=0, images=images, fill=FILL)
    )


@pytest.mark.parametrize("item", EACH, ids=lambda item: "-".join(map(str, item.values())))
def test_a_pictures_bits_do_not_depend_on_its_batch(item: dict[str, Any]) -> None:
    tables, images = augmentations.read([item]), np.arange(24)
    side = 33 if augmentations.needs_room(tables) else 47
    x = noisy(24, 47)
    whole = batched(x, tables, images, side=side)
    for chosen in ([3], [23, 0, 11], list(range(5, 22))):
        assert torch.equal(batched(x[chosen], tables, images[chosen], side=side), whole[chosen])


@pytest.mark.parametrize("item", EACH, ids=lambda item: "-".join(map(str, item.values())))
def test_a_batch_of_any_size_takes_the_same_few_kernels_and_reads_nothing_back(item: dict[str, Any]) -> None:
    tables = augmentations.read([item])
    side = 224 if augmentations.needs_room(tables) else 256
    seen = []
    for count in (128, 256) if item["name"] == "randaugment" else (4, 128):  # of few pictures none drew some operations
        arrays, known = drawn(tables, np.arange(count), held=256, side=side)
        with on_a_gpu_that_is_not_there():
            form = Batched(tables, held=(256, 256), size=(side, side), fill=FILL, device=FAKE)
            x = torch.empty(count, 256, 256, 3, dtype=torch.uint8, device=FAKE)
            there = [{name: each.to(FAKE) for name, each in table.items()} for table in arrays]
            with Operators() as operators:
                out = form(x, there, known)
            assert out.shape == (count, side, side, 3)
            assert out.device == FAKE
        assert operators.reads == []
        assert operators.uploads == 0
        seen.append(operators.kernels)
    assert seen[0] == seen[1]
    assert len(seen[0]) <= MOST[item["name"]], len(seen[0])


def test_randaugment_computes_what_pictures_drew_and_nothing_else() -> None:
    """Two turns of all 14 operations for all pictures would read and write 520 times the bytes of the pictures."""
    x_bytes, count, side = 128 * 224 * 224 * 3, 128, 224
    tables = augmentations.read(["randaugment"])
    arrays, known = drawn(tables, np.arange(count), held=side, side=side)
    with on_a_gpu_that_is_not_there():
        form = Batched(tables, held=(side, side), size=(side, side), fill=FILL, device=FAKE)
        x = torch.empty(count, side, side, 3, dtype=torch.uint8, device=FAKE)
        with Operators() as operators:
            form(x, [{name: each.to(FAKE) for name, each in table.items()} for table in arrays], known)
    assert operators.bytes < 60 * x_bytes, operators.bytes / x_bytes


def test_counting_levels_works_where_torch_is_asked_for_the_same_order_every_time() -> None:
    tables, images, x = augmentations.read(["randaugment"]), np.arange(8), noisy(8, 20)
    expected = batched(x, tables, images, side=20)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(batched(x, tables, images, side=20), expected)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
