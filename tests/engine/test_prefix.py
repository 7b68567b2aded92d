"""The fixed prefix gives an image one answer, whatever stands beside it, wherever it is cut, in every form."""

import functools
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tlkit_toy_build import toy
from torch import Tensor, nn

from tlkit.engine import formats
from tlkit.engine.images.normalisation import normalise
from tlkit.engine.prefix import prefix
from tlkit.engine.prefix.prefix import Prefix
from tlkit.errors import PluginError
from tlkit.network.network import Network
from tlkit.network.packing import Packing
from tlkit.network.stages import Stage
from tlkit.plugin import IMAGENET
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat, PrefixPlan
from tlkit.record.timings import TOLERANCE
from tlkit_efficientnet_lite.build import efficientnet_lite0
from tlkit_resnet.build import resnet18

CHUNK = 8
SIDES = {"toy": 16, "resnet18": 64, "efficientnet_lite0": 64}
BUILDERS = {"toy": toy, "resnet18": resnet18, "efficientnet_lite0": efficientnet_lite0}


@functools.cache
def network(name: str) -> Network:
    """A network with weights and running statistics as if it had been trained; no test changes it."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Network(BUILDERS[name](), nn.Identity())
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.data.uniform_(0.7, 1.3)
                module.bias.data.normal_(0, 0.2)
    return made.eval().requires_grad_(False)


def pictures(name: str, count: int) -> Tensor:
    side = SIDES[name]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def build(
    name: str, compute_format: ComputeFormat, count: int | None = None, *, folded: bool = True, chunk: int = CHUNK
) -> Prefix:
    whole = network(name)
    plan = PrefixPlan(compute_format=compute_format, folded=folded, chunk=chunk)
    return prefix.build(whole, len(whole.stages) if count is None else count, plan, sample=pictures(name, 1))


def worst(found: Tensor, right: Tensor) -> float:
    """The largest relative error of any image."""
    rows = zip(found.double().flatten(1), right.double().flatten(1), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in rows)


each_compute_format = pytest.mark.parametrize("compute_format", COMPUTE_FORMATS, ids=str)
each_network = pytest.mark.parametrize("name", BUILDERS)


@each_compute_format
@each_network
def test_an_image_gets_the_same_bits_whatever_is_beside_it(name: str, compute_format: ComputeFormat) -> None:
    """Alone, first, last, between others, among NaNs: always the bits that it has in a full chunk."""
    x = pictures(name, CHUNK)
    for cut in (len(network(name).stages) - 1, None):
        run = build(name, compute_format, cut)
        right = run(x)
        assert len(right) == CHUNK
        order = torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
        assert torch.equal(run(x[order]), right[order])
        for first, count in ((0, 1), (5, 1), (7, 1), (3, 4), (1, 7)):
            assert torch.equal(run(x[first : first + count]), right[first : first + count])
        strangers = torch.full_like(x, 1e4)
        strangers[3] = x[6]
        assert torch.equal(run(strangers)[3], right[6])


@each_compute_format
@pytest.mark.parametrize(("width", "side"), [(9, 1), (9, 3), (30, 1)])
def test_rows_that_begin_at_any_address_have_the_same_bits(width: int, side: int, compute_format: ComputeFormat) -> None:
    """A product in float32 rounds otherwise where its input begins at an address of another alignment."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mine = Network({"one": nn.Conv2d(width, 33, 1), "two": nn.Conv2d(33, 9, 1)}, nn.Identity()).eval()
    x = torch.randn(CHUNK, width, side, side, generator=torch.Generator().manual_seed(1))
    run = prefix.build(mine, 2, PrefixPlan(compute_format=compute_format, chunk=CHUNK), sample=x[:1])
    right = run(x)
    for by in range(1, CHUNK):
        assert torch.equal(run(x.roll(by, 0)), right.roll(by, 0))


@each_compute_format
@each_network
def test_a_prefix_run_in_two_parts_is_the_whole(name: str, compute_format: ComputeFormat) -> None:
    x = pictures(name, 5)
    stages = len(network(name).stages)
    run = build(name, compute_format)
    right = run(x)
    for cut in range(1, stages):
        part = run(x, stop=cut)
        assert part.dtype == formats.DTYPES[compute_format.precision]
        assert part.is_contiguous(memory_format=formats.LAYOUTS[compute_format.layout])
        again = (
            part.contiguous().clone().contiguous(memory_format=formats.LAYOUTS[compute_format.layout])
        )  # as if it had been stored
        assert torch.equal(run(again, start=cut), right)
        assert torch.equal(run(part[2:3], start=cut), right[2:3])


@each_network
def test_nothing_of_a_prefix_is_what_came(name: str) -> None:
    x = pictures(name, 3)
    run = build(name, COMPUTE_FORMATS[0])
    assert run(x, start=1, stop=1) is x
    assert len(run) == len(network(name).stages)


@each_compute_format
@each_network
def test_a_prefix_is_the_network_within_its_tolerance(name: str, compute_format: ComputeFormat) -> None:
    """Against the network as it is, in plain PyTorch; bfloat16 of random weights and random images is no measure of use."""
    x = pictures(name, 5)
    allowed = 1e-4 if compute_format.precision == "float32" else 0.1
    with torch.no_grad():
        for cut in range(1, len(network(name).stages)):
            assert worst(build(name, compute_format, cut)(x), network(name).run(x, stop=cut)) < allowed
        features = build(name, compute_format)(x)
        assert worst(features, network(name).run(x).mean((2, 3))) < allowed
    assert features.dtype == torch.float32
    assert features.shape == (5, {"toy": 16, "resnet18": 512, "efficientnet_lite0": 1280}[name])


@each_network
def test_every_norm_of_a_prefix_is_folded_and_none_of_the_network(name: str) -> None:
    before = {key: tensor.clone() for key, tensor in network(name).state_dict().items()}
    strides = {key: tensor.stride() for key, tensor in network(name).state_dict().items()}
    made = build(name, ComputeFormat("bfloat16", "channels_last"))
    folds = [module for stage in made._stages for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    assert folds == []
    after = network(name).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) and tensor.stride() == strides[key] for key, tensor in after.items())
    plain = build(name, ComputeFormat(), folded=False)
    assert not any(
        parameter.requires_grad for each in (made, plain) for stage in each._stages for parameter in stage.parameters()
    )
    kept = sum(isinstance(module, nn.BatchNorm2d) for stage in plain._stages for module in stage.modules())
    assert kept == {"toy": 3, "resnet18": 20, "efficientnet_lite0": 49}[name]


def test_a_plain_prefix_has_the_bits_of_the_network() -> None:
    x = pictures("resnet18", CHUNK)
    run = build("resnet18", ComputeFormat(), 4, folded=False)
    with torch.no_grad():
        assert torch.equal(run(x), network("resnet18").run(x, stop=4))


def test_a_network_that_is_set_to_train_is_run_in_inference_mode() -> None:
    mine = Network(toy(), nn.Identity()).train()
    before = {key: tensor.clone() for key, tensor in mine.state_dict().items()}
    plan = PrefixPlan(chunk=CHUNK)
    run = prefix.build(mine, 3, plan, sample=pictures("toy", 1))
    first = run(pictures("toy", 4))
    assert torch.equal(first, run(pictures("toy", 4)))  # no dropout
    assert all(module.training for module in mine.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in mine.state_dict().items())
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert not first.requires_grad


def test_a_prefix_does_not_follow_what_the_network_becomes() -> None:
    mine = Network(toy(), nn.Identity())
    run = prefix.build(mine, 2, PrefixPlan(chunk=CHUNK), sample=pictures("toy", 1))
    right = run(pictures("toy", 4))
    with torch.no_grad():
        for tensor in mine.state_dict().values():
            tensor.fill_(9)
    assert torch.equal(run(pictures("toy", 4)), right)


def test_a_norm_is_not_folded_into_the_stage_before() -> None:
    first, second = Stage({"c": nn.Conv2d(3, 4, 1)}), Stage({"n": nn.BatchNorm2d(4), "r": nn.ReLU()})
    second.get_submodule("n").running_mean.fill_(1.0)
    mine = Network({"first": first, "second": second}, nn.Identity()).eval()
    x = torch.randn(2, 3, 4, 4)
    run = prefix.build(mine, 2, PrefixPlan(chunk=2), sample=x[:1])
    with torch.no_grad():
        assert torch.equal(run(x, stop=1), mine.run(x, stop=1))
        assert torch.equal(run(x), mine.run(x).mean((2, 3)))


@each_compute_format
def test_features_that_are_no_map_pass(compute_format: ComputeFormat) -> None:
    """A backbone may end in a pooling and a product of its own."""
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    mine = Network({"map": nn.Conv2d(3, 4, 3), "features": last, "more": nn.Linear(6, 5)}, nn.Identity()).eval()
    x = torch.randn(3, 3, 8, 8)
    run = prefix.build(mine, 3, PrefixPlan(compute_format=compute_format, chunk=4), sample=x[:1])
    part = run(x, stop=2)
    assert part.dtype == formats.DTYPES[compute_format.precision]
    features = run(part, start=2)
    assert torch.equal(features, run(x))
    assert features.dtype == torch.float32
    with torch.no_grad():
        assert worst(features, mine.run(x)) < (1e-5 if compute_format.precision == "float32" else 0.05)


def test_a_stage_that_cannot_be_copied_is_named() -> None:
    stem = nn.Conv2d(3, 4, 1)
    stem.scaled = stem.weight * 2  # a tensor with a history
    with pytest.raises(PluginError, match="stage stem: cannot be copied: "):
        prefix.build(Network({"stem": stem}, nn.Identity()), 1, PrefixPlan(), sample=torch.randn(1, 3, 2, 2))


class Shapes(nn.Module):
    """Write down the shapes of what comes, and pass it on."""

    def __init__(self, seen: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return x


@pytest.mark.parametrize(
    ("layer", "width", "alone"),
    [
        (nn.Linear(30, 4), 30, True),
        (nn.Linear(10, 4), 10, True),
        (nn.Linear(20, 4), 20, False),
        (nn.Conv2d(9, 4, 1), 9, True),
        (nn.Conv2d(10, 4, 1), 10, True),
        (nn.Conv2d(20, 4, 1), 20, False),
        (nn.Conv2d(20, 4, 1, groups=2), 20, True),  # ten channels each
        (nn.Conv2d(9, 4, (1, 2)), 9, False),
        (nn.Conv2d(9, 4, (2, 1)), 9, False),
        (nn.ReLU(), 9, False),
    ],
    ids=str,
)
def test_only_a_stage_with_a_product_over_an_odd_width_runs_image_by_image(layer: nn.Module, width: int, alone: bool) -> None:
    """Odd is what is no multiple of 16 bytes, of four values in float32."""
    seen: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = ([], [])
    stages = [nn.Sequential(Shapes(seen[0]), layer), Shapes(seen[1])]
    one = (width,) if isinstance(layer, nn.Linear) else (width, 2, 2)
    run = Prefix([stage.eval() for stage in stages], pools=False, plan=PrefixPlan(chunk=4))
    assert len(run(torch.randn(3, *one))) == 3
    assert seen[0] == ([(1, *one)] * 4 if alone else [(4, *one)])
    assert len(seen[1]) == 1


@pytest.mark.parametrize("means", [False, True], ids=["maps", "means"])
@each_compute_format
def test_a_cut_carries_what_the_rest_of_the_network_reads(compute_format: ComputeFormat, means: bool) -> None:
    """The maps of both stages of five bands, or the mean of the first beside the map of the second."""
    stages = {"one": nn.Conv2d(5, 4, 3, padding=1), "two": nn.Conv2d(4, 8, 3, stride=2, padding=1)}
    mine = Network(stages, nn.Identity(), packing=Packing((0, 1), 5, means=means), reads="mean" if means else "maps").eval()
    x = torch.randn(3, 5, 8, 8)
    run = prefix.build(mine, 2, PrefixPlan(compute_format=compute_format, chunk=4), sample=x[:1])
    packed, first = run(x), run(x, stop=1)
    assert (packed.ndim, packed.dtype) == (5, formats.DTYPES[compute_format.precision])
    assert torch.equal(run(first, start=1), packed)
    carried = mine.packing.opened(packed.float(), list(mine.stages.values()))
    one = mine.stages["one"](x)
    expected = one.mean((2, 3)) if means else one
    allowed = 1e-5 if compute_format.precision == "float32" else 0.02
    with torch.no_grad():
        assert worst(carried.kept[0], expected) < allowed
        assert worst(carried.last, mine.stages["two"](one)) < allowed
    layout = formats.LAYOUTS[compute_format.layout]
    assert run._packing.opened(packed, run._stages).last.is_contiguous(memory_format=layout)


def photos(folder: Path, count: int, side: int) -> Tensor:
    """Photographs of ants and bees as ImageNet's networks want them."""
    found = []
    with tarfile.open(folder / "hymenoptera.tar") as tar:
        members = sorted((each for each in tar if each.name.endswith(".jpg")), key=lambda each: each.name)
        for member in members[:: max(1, len(members) // count)][:count]:
            image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB").resize((side, side))
            found.append(np.asarray(image))
    return normalise(torch.from_numpy(np.stack(found)), IMAGENET).contiguous()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("cut", [3, 4, 5])
def test_bfloat16_is_within_the_tolerance_on_photographs(test_data: Path, cut: int, layout: str) -> None:
    """A ResNet-18 as it is initialised; weights that a test may use are not at hand."""
    x = photos(test_data, 8, 96)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mine = Network(resnet18(), nn.Identity()).eval()
    plan = PrefixPlan(compute_format=ComputeFormat("bfloat16", layout), chunk=len(x))
    with torch.no_grad():
        right = mine.run(x, stop=cut)
        assert worst(prefix.build(mine, cut, plan, sample=x[:1])(x), right.mean((2, 3)) if cut == 5 else right) < TOLERANCE
