"""How pixels reach a network belongs to its weights: it travels with a run, and a recipe that says something else is told so."""

import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_training import training

from tlkit import api
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images import decode
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.normalisation import normalise
from tlkit.errors import RecipeError
from tlkit.network import building, tensor_files, weights
from tlkit.network.network import Network
from tlkit.plugin import CAFFE, IMAGENET, Backbone, Convention, Head, registry
from tlkit.recipe.tables import DataTable
from tlkit.record import run_folder
from tlkit.run import loading

# What released SqueezeNet 1.0 was trained with: its page gives these means.
SQUEEZENET = Convention(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channels="bgr", range=255.0, resize="bilinear")
ANTS, BEES = 310, 309  # ImageNet's classes


def squeezenet(file: Path) -> Network:
    """SqueezeNet 1.0 with its own classifier of 1,000 classes."""
    backbone, head = registry.get(Backbone, "squeezenet1_0"), registry.get(Head, "conv")
    assert head.options is not None
    made = building.build(backbone, head, classes=1000, backbone_options=None, head_options=head.options(), seed=0)
    named = weights.import_names(tensor_files.read(file).tensors, backbone)
    for name, tensor in made.tensors().items():
        with torch.no_grad():
            tensor.copy_(named[name])
    return made


@pytest.fixture(scope="module")
def pictures(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """The 153 pictures of hymenoptera's val folder, (N, 224, 224, 3), and their ImageNet classes."""
    folder = tmp_path_factory.mktemp("pictures")
    with tarfile.open(test_data / "hymenoptera.tar") as tar:
        tar.extractall(folder, filter="data")
    files = sorted(folder.rglob("val/*/*.jpg"))
    geometry = evaluation_geometry((224, 224), IMAGENET, DataTable(name="any"))
    pixels = np.stack([decode.picture(file, geometry) for file in files])
    return pixels, np.array([ANTS if file.parent.name == "ants" else BEES for file in files])


def logits(net: Network, pixels: np.ndarray, convention: Convention) -> torch.Tensor:
    with evaluating(net), torch.inference_mode():
        parts = [normalise(torch.from_numpy(pixels[at : at + 51]), convention) for at in range(0, len(pixels), 51)]
        return torch.cat([net(part) for part in parts])


@pytest.mark.slow  # 612 pictures of 224 pixels through SqueezeNet
def test_one_network_in_two_conventions_gives_the_same_answers(
    test_data: Path, pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    """The first layer of one file was refolded for RGB with ImageNet's mean and std; the rest are the same weights."""
    pixels, labels = pictures
    caffe = logits(squeezenet(test_data / "weights" / "squeezenet1_0_caffe_bgr.npz"), pixels, SQUEEZENET)
    usual = logits(squeezenet(test_data / "weights" / "squeezenet1_0_rgb_imagenetnorm.npz"), pixels, IMAGENET)
    tops = [each.topk(5).indices for each in (caffe, usual)]
    assert (tops[0][:, 0] == tops[1][:, 0]).float().mean() == 1
    assert (tops[0].sort().values == tops[1].sort().values).all(
        1
    ).float().mean() >= 0.98  # two that are as good as equal may change places
    right = (caffe.argmax(1).numpy() == labels).mean()
    wrong = logits(squeezenet(test_data / "weights" / "squeezenet1_0_caffe_bgr.npz"), pixels, IMAGENET)
    swapped = logits(
        squeezenet(test_data / "weights" / "squeezenet1_0_caffe_bgr.npz"), pixels,
        Convention(mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0), range=255.0),
    )  # fmt: skip
    assert right > 0.5
    assert (wrong.argmax(1).numpy() == labels).mean() < right - 0.3
    assert (swapped.argmax(1).numpy() == labels).mean() < right - 0.05


def test_a_pixel_in_caffes_convention_is_what_was_worked_by_hand() -> None:
    x = normalise(torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8), CAFFE)
    assert x.flatten().tolist() == pytest.approx([30 - 103.939, 20 - 116.779, 10 - 123.68], abs=1e-4)


GIVEN = "backbone.input={channels='bgr', range=255.0, mean=[104.0, 117.0, 123.0], std=[1.0, 1.0, 1.0]}"


def test_a_recipe_may_say_how_pixels_reach_a_file_of_weights(toy_recipe: Path) -> None:
    plain = training(toy_recipe).plan
    given = training(toy_recipe, GIVEN).plan
    assert (given.input.channels, given.input.range, given.input.mean) == ("bgr", 255.0, (104.0, 117.0, 123.0))
    assert given.input.crop == plain.input.crop
    assert not [line for line in given.warnings if "backbone.input" in line], "random weights were trained with nothing"
    named = training(toy_recipe, "backbone.input=caffe").plan
    assert named.input.mean == CAFFE.mean


def test_pixels_that_named_weights_were_not_trained_with_are_warned_of() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "resnet18_cifar.toml"
    (plan,) = api.plan(recipe, ["backbone.input=caffe"], classes=10).values()
    (line,) = [line for line in plan.warnings if "backbone.input" in line]
    assert line.startswith("backbone.input: imagenet1k-v1 was trained with RGB 0..1, mean 0.485, 0.456, 0.406")
    (same,) = api.plan(recipe, ["backbone.input=torch"], classes=10).values()
    assert not [line for line in same.warnings if "backbone.input" in line]


def test_a_key_of_it_alone_changes_what_the_weights_have() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
    own = registry.get(Backbone, "efficientnet_lite0").weights["imagenet"].input
    assert own.resize == "bicubic"
    (plan,) = api.plan(recipe, ["backbone.input={channels='bgr'}"], arm="finetune").values()
    assert plan.input == replace(own, channels="bgr", crop=plan.input.crop)
    (filtered,) = api.plan(recipe, ["backbone.input={resize='nearest'}"], arm="finetune").values()
    (line,) = [line for line in filtered.warnings if "backbone.input" in line]
    assert "resized with the bicubic filter, not nearest" in line
    (same,) = api.plan(recipe, ["backbone.input={mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]}"], arm="finetune").values()
    assert not [line for line in same.warnings if "backbone.input" in line]


def test_a_file_that_does_not_say_its_pixels_is_warned_of(toy_recipe: Path, tmp_path: Path) -> None:
    mine = training(toy_recipe)
    save_file({name: tensor.clone() for name, tensor in mine.network.tensors().items()}, tmp_path / "w.safetensors")
    settings = ["backbone.weights=w.safetensors"]
    (line,) = [line for line in training(toy_recipe, *settings).plan.warnings if "backbone.input" in line]
    assert line.startswith("backbone.input: the preprocessing of w.safetensors is not known; RGB 0..1, mean ")
    assert not [line for line in training(toy_recipe, *settings, GIVEN).plan.warnings if "backbone.input" in line]


def test_it_travels_with_the_run_to_predict_and_to_the_next_run(toy_recipe: Path, tmp_path: Path) -> None:
    done = api.apply(toy_recipe, [GIVEN, "schedule.epochs=1"], runs=tmp_path / "runs")
    folder = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    assert run_folder.convention(folder).mean == (104.0, 117.0, 123.0)
    assert tomllib.loads((folder / "recipe.toml").read_text())["backbone"]["input"]["channels"] == "bgr"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    (row,) = predictor.predict([tmp_path / "a.png"])
    mine = training(toy_recipe, GIVEN, "schedule.epochs=1")
    weights.load_whole_(mine.network, folder / "weights.safetensors", backbone=registry.get(Backbone, "toy"))
    pixels = torch.from_numpy(np.asarray(Image.open(tmp_path / "a.png"))[None].copy()).permute(0, 3, 1, 2).float()
    x = pixels.flip(1) - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    with evaluating(mine.network), torch.inference_mode():
        expected = torch.softmax(mine.network(x), 1)[0]
    assert torch.tensor(row) == pytest.approx(expected, abs=1e-5)
    later = training(toy_recipe, f'backbone.weights="run:{folder}"', "name=later").plan
    assert later.input.mean == (104.0, 117.0, 123.0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("backbone.input=tensorflow", "backbone.input"),
        ("backbone.input={mean=[1.0, 2.0], std=[1.0, 1.0, 1.0]}", "backbone.input.mean"),
        ("backbone.input={mean=[1.0, 2.0, 3.0], std=[1.0, 0.0, 1.0]}", "backbone.input.std"),
        ("backbone.input={size=[1.0, 1.0, 1.0]}", "backbone.input.size"),
    ],
)
def test_an_input_that_cannot_be_is_a_message(toy_recipe: Path, setting: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        training(toy_recipe, setting)
    assert words in str(error.value)
