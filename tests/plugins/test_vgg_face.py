"""VGG-Face: a file of its names and layout is recognised, and vgg16 computes what the network computes that the file was made for."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg16

from tlkit import api
from tlkit.engine.images.normalisation import normalise
from tlkit.network import building, weights
from tlkit.plugin import Backbone, Head, registry
from tlkit.sources import weight_files
from tlkit_heads import LinearOptions

IDENTITIES = 2622
BLOCKS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))  # channels
MEAN = (129.186279296875, 104.76238250732422, 93.59396362304688)


def overlapping(rows: int, columns: int, random: torch.Generator) -> Tensor:
    """Return a matrix whose rows begin one value later each in the same random numbers: a file holds 30,000 values, not 100 million."""
    values = torch.randn(rows + columns, generator=random) / columns**0.5
    return values.as_strided((rows, columns), (1, 1))


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """The tensors of a file like vgg_face_dag.pth, with random values."""
    random, found = torch.Generator().manual_seed(0), {}
    for block, channels in enumerate(BLOCKS, start=1):
        for at, (before, after) in enumerate(itertools.pairwise(channels), start=1):
            found[f"conv{block}_{at}.weight"] = torch.randn(after, before, 3, 3, generator=random) * (2 / 9 / before) ** 0.5
            found[f"conv{block}_{at}.bias"] = torch.randn(after, generator=random) / 10
    for name, (rows, columns) in {"fc6": (4096, 25088), "fc7": (4096, 4096), "fc8": (IDENTITIES, 4096)}.items():
        found[f"{name}.weight"] = overlapping(rows, columns, random)
        found[f"{name}.bias"] = torch.randn(rows, generator=random) / 10
    return found


@pytest.fixture(scope="module")
def file(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg_face_dag.pth"
    torch.save(tensors, path)
    return path


def plain_features(tensors: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """Return what the last hidden layer (N, 4096) gives, as vgg_face_dag.py computes it."""
    x = (pictures.float() - torch.tensor(MEAN)).permute(0, 3, 1, 2)
    for block, channels in enumerate(BLOCKS, start=1):
        for at in range(1, len(channels)):
            x = F.relu(F.conv2d(x, tensors[f"conv{block}_{at}.weight"], tensors[f"conv{block}_{at}.bias"], padding=1))
        x = F.max_pool2d(x, 2, 2)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"]))
    return x


def test_the_file_is_recognised_and_its_pixels_are_known(file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "faces.toml"
    recipe.write_text(
        f'format = 1\nname = "faces"\n[backbone]\nname = "vgg16"\nweights = "{file}"\n[data]\nname = "synthetic"\n'
        "batch_size = 4\n[freeze]\nbackbone = true\n[lr_groups]\nhead = 1e-3\n[arms.a]\n"
    )
    (plan,) = api.plan(recipe).values()
    assert (plan.input.channels, plan.input.range, plan.input.mean, plan.input.std) == ("rgb", 255.0, MEAN, (1.0, 1.0, 1.0))
    assert not [line for line in plan.warnings if "backbone.input" in line]


def test_torchvisions_own_file_is_not_taken_for_it(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = vgg16(weights=None).state_dict()
    torch.save(dict.fromkeys(names, torch.zeros(1)), tmp_path / "vgg16.pth")
    assert weight_files.layout(tmp_path / "vgg16.pth", registry.get(Backbone, "vgg16")) == ""


def test_every_name_and_shape_is_one_of_torchvisions(tensors: dict[str, Tensor]) -> None:
    from tlkit_vgg.build import from_vgg_face

    with torch.device("meta"):
        library = vgg16(weights=None, num_classes=IDENTITIES).state_dict()
    assert {name: each.shape for name, each in from_vgg_face(tensors).items()} == {
        name: each.shape for name, each in library.items()
    }


@pytest.mark.slow
def test_the_features_are_those_of_the_network_that_the_file_is_of(file: Path, tensors: dict[str, Tensor]) -> None:
    backbone = registry.get(Backbone, "vgg16")
    network = building.build(
        backbone, registry.get(Head, "linear"), classes=2, backbone_options=None, head_options=LinearOptions(), seed=0
    )
    (note,) = weights.load_(network, file, backbone=backbone, name="vgg16")
    assert "torchvision.models.vgg16" in note
    pictures = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    x = normalise(pictures, backbone.layouts["VGG-Face"].input)
    with torch.inference_mode():
        found, expected = network.eval().run(x), plain_features(tensors, pictures)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
