"""Images that are not square: trained, stored, and predicted as Pillow and torch alone would do it."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tlkit_toy_build import ToyNet
from torchvision.transforms import v2
from toy_training import CPU, training

import tlkit
from tlkit import api
from tlkit.errors import TlkitError
from tlkit.run import loading

COLOURS = {"ant": (200, 40, 40), "bee": (40, 200, 40), "cat": (40, 40, 200)}
AUGMENT = '["random_crop", "hflip", "vflip", "rotate", "color_jitter", "randaugment", "random_erasing", "cutmix", "mixup"]'


@pytest.fixture
def recipe(toy_recipe: Path) -> Path:
    """The toy recipe on wide and tall pictures, whose outer thirds say what they are of."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (toy_recipe.parent / "images" / name).mkdir(parents=True)
        for index in range(8):
            pixels = draw.integers(0, 256, (20, 60, 3))
            pixels[:, :20] = pixels[:, -20:] = colour
            pixels = pixels.transpose(1, 0, 2) if index % 4 == 0 else pixels
            Image.fromarray(pixels.astype(np.uint8)).save(toy_recipe.parent / "images" / name / f"{index}.png")
    text = toy_recipe.read_text().replace('"synthetic"', '"folder"').replace("image_size = 16", "image_size = [16, 24]")
    options = text[text.index("[data.options]") : text.index("[lr_groups]")]
    toy_recipe.write_text(text.replace(options, '[data.options]\npath = "images"\n\n'))
    return toy_recipe


def by_hand(image: Image.Image, fit: str) -> Image.Image:
    if fit == "pad":
        return ImageOps.pad(image, (24, 16), Image.Resampling.BILINEAR, color=(128, 128, 128))
    if fit == "squash":
        return image.resize((24, 16), Image.Resampling.BILINEAR)
    return v2.functional.center_crop(ImageOps.cover(image, (24, 16), Image.Resampling.BILINEAR), [16, 24])


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_run_on_rectangles_predicts_what_pillow_and_torch_alone_would(recipe: Path, tmp_path: Path, fit: str) -> None:
    applied = api.apply(recipe, [f"data.fit={fit}", "data.crop=1.0"], runs=tmp_path / "runs", offline=True)
    (run,) = (path for path in applied.folder.iterdir() if path.is_dir())
    assert tomllib.loads((run / "resolved.toml").read_text())["image_size"] == [16, 24]
    assert json.loads((run / "plan.json").read_text())["image_size"] == [16, 24]
    files = sorted((recipe.parent / "images").glob("*/*.png"))
    mine = loading.load(applied.folder, arm=None, device=CPU).predict(files)
    network = ToyNet(3).eval()
    tensors = load_file(run / "weights.safetensors")
    network.load_state_dict({name.replace("head.", "fc."): tensor for name, tensor in tensors.items()}, strict=False)
    x = torch.stack([v2.functional.pil_to_tensor(by_hand(Image.open(file), fit)) for file in files])
    with torch.no_grad():
        theirs = network((x / 255 - 0.5) / 0.5).softmax(1)
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_rectangles_are_trained_on_with_every_augmentation(recipe: Path, fit: str) -> None:
    mine = training(recipe, f"data.augment={AUGMENT}", f"data.fit={fit}", "freeze={stem=true}")
    x = mine.prepared.train.inputs(mine.prepared.train.indices[:5], 0, CPU)
    assert x.shape == (5, 3, 16, 24)
    losses = [epoch.train["loss"] for epoch in mine.fit.epochs()]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_stored_pictures_and_features_of_rectangles_are_those_computed_again(recipe: Path, fit: str) -> None:
    settings = [f"data.fit={fit}", "freeze={backbone=true}", 'data.augment=["hflip"]', "data.augment_views=2"]
    computed, stored, again = (training(recipe, *settings, keep=keep) for keep in (False, True, True))
    for name in ("train", "test"):
        parts = [mine.prepared.train if name == "train" else mine.prepared.evaluated.test for mine in (computed, stored, again)]
        first, *others = [part.inputs(part.indices, 0, CPU) for part in parts]
        assert all(torch.equal(first, other) for other in others)
    outcomes = [[epoch.train["loss"] for epoch in mine.fit.epochs()] for mine in (computed, stored, again)]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_fits_do_not_share_stored_pictures(recipe: Path) -> None:
    x = [
        training(recipe, f"data.fit={fit}").prepared.evaluated.test.inputs(np.arange(3), 0, CPU)
        for fit in ("crop", "pad", "squash")
    ]
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x[1], x[2])


def test_a_pair_of_equal_sides_is_the_square_and_the_same_run(toy_recipe: Path, tmp_path: Path) -> None:
    first, second = (api.plan(toy_recipe, [f"data.image_size={size}"])["main"] for size in ("16", "[16, 16]"))
    assert first == second
    assert first.image_size == (16, 16)


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_crop_that_has_no_effect_is_said(toy_recipe: Path, fit: str) -> None:
    plan = api.plan(toy_recipe, [f"data.fit={fit}", "data.crop=0.5"])["main"]
    assert plan.unused == (f'data.crop: data.fit = "{fit}" does not crop',)


def test_a_models_image_size_may_be_a_pair() -> None:
    model = tlkit.Model("toy", classes=3, image_size=(16, 24))
    assert model.predict(np.zeros((2, 50, 40, 3), np.uint8)).shape == (2, 3)


def test_both_sides_count_for_the_smallest_size(toy_recipe: Path) -> None:
    with pytest.raises(TlkitError, match=r"data\.image_size: is \[100, 20\]; resnet18 needs at least 32"):
        api.plan(toy_recipe, ["backbone.name=resnet18", "data.image_size=[100, 20]"])


def test_a_quarter_turn_of_a_rectangle_is_refused(toy_recipe: Path) -> None:
    augment = 'data.augment=[{{name="rotate", steps={}}}]'.format
    with pytest.raises(TlkitError, match="rotate by 90 degrees would turn images of 16x24 pixels into 24x16") as caught:
        api.plan(toy_recipe, [augment(90), "data.image_size=[16, 24]"])
    assert "steps = 180" in str(caught.value)
    api.plan(toy_recipe, [augment(180), "data.image_size=[16, 24]"])
    api.plan(toy_recipe, [augment(90)])


@pytest.mark.parametrize(("value", "words"), [("[16]", "2"), ("[16, 4]", "8"), ("[16, 24, 3]", "2"), ('["a", 24]', "integer")])
def test_a_wrong_pair_is_said(toy_recipe: Path, value: str, words: str) -> None:
    with pytest.raises(TlkitError, match=r"data\.image_size") as caught:
        api.plan(toy_recipe, [f"data.image_size={value}"])
    assert words in str(caught.value)


def test_the_plan_says_how_pictures_are_fitted(recipe: Path, run: Cli) -> None:
    words = {"crop": "centre crop 16x24 px", "pad": "padded with the mean colour", "squash": "whatever its shape"}
    for fit, said in words.items():
        code, out, _ = run("plan", recipe, "--set", f"data.fit={fit}")
        assert code == 0
        assert said in " ".join(out.split())
