"""The plain loop of the benchmarks does the work that the recipe describes, no less."""

from pathlib import Path

import pytest
import torch
from conftest import TOY_RECIPE

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.plain import AUGMENTATIONS, Plain
from tlkit.recipe import parsing


def test_the_plain_loop_trains_what_the_recipe_trains(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(TOY_RECIPE + "[arms.head_only]\nfreeze = { backbone = true }\nlr_groups = { head = 1e-2 }\n")
    loop = Plain(vars(cases.make(Case(path, "head_only"), tmp_path, images=36)))
    before = {name: tensor.clone() for name, tensor in loop.network.tensors().items()}
    assert 0 <= loop.epoch() <= 1
    changed = {name for name, tensor in loop.network.tensors().items() if not tensor.equal(before[name])}
    moved = {name for name in changed if not name.rpartition(".")[2].startswith(("running_", "num_batches"))}
    assert moved == {"head.weight", "head.bias"}
    assert (len(loop.train[1]), len(loop.held[1])) == (36, 24)


def augmenting(folder: Path, augment: str, **data: object) -> Plain:
    """The plain loop of a toy recipe that augments."""
    path = folder / "augmenting.toml"
    settings = "".join(f"{name} = {value}\n" for name, value in {"augment": augment, **data}.items())
    path.write_text(TOY_RECIPE.replace("[data]\n", "[data]\n" + settings))
    return Plain(vars(cases.make(Case(path, "main"), folder, images=36)))


def test_the_plain_loop_flips_where_the_recipe_does(tmp_path: Path) -> None:
    loop = augmenting(tmp_path, '[{ name = "hflip", p = 1.0 }]')
    pixels = loop.train[0][:8]
    assert torch.equal(loop.pictures(pixels, augment=True), loop.pictures(pixels, augment=False).flip(3))


def test_the_plain_loop_draws_for_each_picture(tmp_path: Path) -> None:
    loop = augmenting(tmp_path, '["random_crop", "hflip"]', crop=1.0)
    pixels = loop.train[0][:1].repeat(64, axis=0)
    found = loop.pictures(pixels, augment=True)
    assert found.shape == (64, 3, 16, 16)
    # 18 pixels, which is 16 * 256/224, leave 3 places in either direction, and a picture or its mirror image
    assert 10 < len(torch.unique(found, dim=0)) <= 18
    assert len(torch.unique(loop.pictures(pixels, augment=False), dim=0)) == 1


def test_the_plain_loop_takes_windows_of_a_picture(tmp_path: Path) -> None:
    whole = augmenting(tmp_path, '[{ name = "random_resized_crop", scale = [1.0, 1.0], ratio = [1.0, 1.0] }]', crop=1.0)
    pixels = whole.train[0][:4]
    assert torch.allclose(whole.pictures(pixels, augment=True), whole.pictures(pixels, augment=False), atol=1e-4)
    parts = augmenting(tmp_path, '[{ name = "random_resized_crop", scale = [0.3, 0.6] }]', crop=1.0)
    assert len(torch.unique(parts.pictures(pixels[:1].repeat(32, axis=0), augment=True), dim=0)) > 10


def test_the_plain_loop_pads_with_the_mean_and_erases_with_noise(tmp_path: Path) -> None:
    loop = augmenting(tmp_path, '[{ name = "random_crop", padding = 2 }]', crop=1.0)
    pixels = loop.train[0][:1].repeat(200, axis=0)
    found, whole = loop.pictures(pixels, augment=True), loop.pictures(pixels[:1], augment=False)
    middle = found[(found[:, :, 1:-1, 1:-1] == whole[:, :, 1:-1, 1:-1]).all((1, 2, 3))]
    assert len(middle) >= 1, "drawn in one of 25 cases"
    assert (found.abs() < 1e-6).all(1).any(), "the mean, which is 0 when normalised"
    assert len(torch.unique(found, dim=0)) == 25
    erasing = augmenting(tmp_path, '[{ name = "random_erasing", p = 1.0 }]', crop=1.0)
    assert (erasing.pictures(pixels, augment=True) != whole).any((1, 2, 3)).all()


def test_the_plain_loop_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the plain loop has no mixup"):
        augmenting(tmp_path, '["hflip", "mixup"]')


def test_the_plain_loop_has_what_the_recipes_that_ship_name() -> None:
    tables = [parsing.read(case.recipe, ()).arms[case.arm] for case in cases.cases()]
    assert {each.name for table in tables for each in table.data.augment} <= AUGMENTATIONS
