"""EfficientNet-Lite0 against timm, and its weights against pictures of ants and bees."""

import copy
import os
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.normalisation import normalise
from tlkit.errors import WeightsError
from tlkit.network import tensor_files
from tlkit.plugin import IMAGENET, Convention
from tlkit.recipe.tables import DataTable
from tlkit_efficientnet_lite import efficientnet_lite0
from tlkit_efficientnet_lite.build import efficientnet_lite0 as build
from tlkit_efficientnet_lite.build import rename

DATA = Path(os.environ.get("TLKIT_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CLASSES = {"ants": 310, "bees": 309}  # ImageNet-1k's numbers for "ant" and "bee"


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm, the independent implementation, is not installed")
    return timm.create_model("tf_efficientnet_lite0").eval()


@pytest.fixture(scope="module")
def file() -> dict[str, Tensor]:
    _, distribution, path = str(efficientnet_lite0.weights["imagenet"].source).split(":")
    try:
        found = metadata.distribution(distribution).locate_file(path)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution}, which holds the ImageNet weights, is not installed")
    return tensor_files.read(Path(str(found))).tensors


@pytest.fixture(scope="module")
def trained(file: dict[str, Tensor]) -> nn.Module:
    return network(rename(file))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    """Return the 153 pictures as tlkit decodes them, (N, 224, 224, 3) uint8, and their ImageNet classes."""
    archive = DATA / "hymenoptera.tar"
    if not archive.exists():
        pytest.skip(f"{archive} is absent; $TLKIT_TEST_DATA names its folder")
    folder = tmp_path_factory.mktemp("hymenoptera")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    files = sorted((folder / "val").glob("*/*.jpg"))
    geometry = evaluation_geometry((224, 224), efficientnet_lite0.weights["imagenet"].input, DataTable(name="any"))
    pixels = np.stack([decode.picture(file, geometry) for file in files])
    return torch.from_numpy(pixels), torch.tensor([CLASSES[file.parent.name] for file in files])


def network(state: dict[str, Tensor]) -> nn.Module:
    """Return stages, pooling and classifier with the weights of a whole timm state dict."""
    stages = build()
    for stage in stages.values():
        stage.load_state_dict({name: state[name] for name in stage.state_dict()})
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict({name: state[f"classifier.{name}"] for name in ("weight", "bias")})
    return nn.Sequential(*stages.values(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier).eval()


def accuracy(model: nn.Module, pictures: tuple[Tensor, Tensor], convention: Convention) -> float:
    """Return the part of the pictures whose best of 1000 classes is right."""
    with torch.inference_mode():
        logits = torch.cat([model(normalise(batch, convention)) for batch in pictures[0].split(8)])
    return (logits.argmax(1) == pictures[1]).float().mean().item()


def named() -> dict[str, Tensor]:
    return {name: tensor for stage in build().values() for name, tensor in stage.state_dict().items()}


@pytest.mark.parametrize("size", [(64, 64), (97, 97), (224, 224), (97, 64)], ids=str)
def test_outputs_equal_timm_bit_by_bit(reference: nn.Module, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(reference.state_dict())(images), reference(images))


def test_training_step_equals_timm(reference: nn.Module) -> None:
    """Batch statistics, running statistics and gradients, which the inference mode does not show."""
    ours, theirs = network(reference.state_dict()).train(), copy.deepcopy(reference).train()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for model in (ours, theirs):
        model(images).square().mean().backward()
    gradients = [[p.grad for p in model.parameters()] for model in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(*(list(model.buffers()) for model in (ours, theirs)))


def test_names_shapes_and_order_equal_timm(reference: nn.Module) -> None:
    ours = [(name, tensor.shape) for name, tensor in named().items()]
    theirs = [(name, tensor.shape) for name, tensor in reference.state_dict().items()]
    assert [*ours, ("classifier.weight", (1000, 1280)), ("classifier.bias", (1000,))] == theirs


def test_parameter_total_equals_timm(reference: nn.Module) -> None:
    total = sum(p.numel() for stage in build().values() for p in stage.parameters())
    assert total + 1280 * 1000 + 1000 == sum(p.numel() for p in reference.parameters())


def test_declared_stages_are_the_built_ones_and_own_every_tensor() -> None:
    stages = build()
    assert list(stages) == list(efficientnet_lite0.stages)
    for stage, modules in efficientnet_lite0.stages.items():
        prefixes = tuple(f"{module}." for module in modules)
        assert all(name.startswith(prefixes) for name in stages[stage].state_dict()), stage


def test_smallest_image_gives_the_declared_features() -> None:
    side = efficientnet_lite0.minimum_size
    features = nn.Sequential(*build().values()).eval()(torch.zeros(1, 3, side, side))
    assert features.shape == (1, efficientnet_lite0.features, 1, 1)


def test_random_weights_have_the_spread_of_the_release() -> None:
    torch.manual_seed(0)
    wide = {name: tensor for name, tensor in named().items() if tensor.dim() == 4}
    assert wide["conv_head.weight"].std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.01)
    assert wide["blocks.5.1.conv_dw.weight"].std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.02)


def test_builds_without_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert all(tensor.is_meta for tensor in named().values())


@pytest.mark.slow
def test_right_pixels_recognise_ants_and_bees(trained: nn.Module, pictures: tuple[Tensor, Tensor]) -> None:
    """Measured: 84.3 % with the right pixels, 67.3 % with the usual mean and std; the bounds leave room for decoders."""
    right = accuracy(trained, pictures, efficientnet_lite0.weights["imagenet"].input)
    usual = accuracy(trained, pictures, IMAGENET)
    assert len(pictures[0]) == 153
    assert right >= 0.80
    assert usual <= right - 0.08


def test_weights_under_new_names_give_timms_outputs(reference: nn.Module, file: dict[str, Tensor], trained: nn.Module) -> None:
    loaded = copy.deepcopy(reference)
    loaded.load_state_dict(rename(file))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(trained(images), loaded(images))


def test_rename_refuses_a_wrong_shape(file: dict[str, Tensor]) -> None:
    wrong = {**file, "_bn0.weight": torch.ones(16)}
    with pytest.raises(WeightsError, match=r'"_bn0\.weight" has shape \(16,\), bn1\.weight has \(32,\)'):
        rename(wrong)


def test_rename_refuses_another_number_of_tensors(file: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="295 tensors instead of 296"):
        rename(dict(list(file.items())[:-1]))


def test_rename_refuses_exchanged_tensors_of_one_shape(file: dict[str, Tensor]) -> None:
    names = list(file)
    names[1], names[2] = names[2], names[1]
    with pytest.raises(WeightsError, match=r'"_bn0\.bias" stands in the place of bn1\.weight'):
        rename({name: file[name] for name in names})


def test_importing_the_plugin_imports_no_torch() -> None:
    code = "import sys, tlkit_efficientnet_lite; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
