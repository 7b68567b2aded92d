"""What a stored output depends on is in its key: options, order, sources, versions, and what was folded."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import tlkit_toy
import torch
import torchvision
from torch import Tensor, nn
from toy_training import CPU, training

from tlkit.engine import row_keys, tf32
from tlkit.engine.prefix import prefix
from tlkit.network.network import Network
from tlkit.network.stages import Stage
from tlkit.plugin import Backbone, Options
from tlkit.record.formats import PrefixPlan

PLAN = PrefixPlan(chunk=4)


class Heads(Options):
    heads: int = 1


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def attention(options: Heads) -> dict[str, nn.Module]:
    """Neither repr nor state_dict shows the number of heads."""
    layer = nn.TransformerEncoderLayer(16, options.heads, 32, batch_first=True)
    blocks = {"tokens": Tokens(), "block": layer, "mean": Mean()}
    return {"stem": Stage({"conv1": nn.Conv2d(3, 16, 4, stride=4)}), "blocks": Stage(blocks)}


ATTENTION = Backbone(
    build="test_row_keys:attention", stages={"stem": ("conv1",), "blocks": ("block",)}, features=16, classifier="fc",
    options=Heads, image_size=16, minimum_size=8,
)  # fmt: skip


def test_an_option_that_no_weight_shows_is_another_prefix(
    toy_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlkit_toy, "toy", ATTENTION)

    def features(heads: int) -> np.ndarray:
        mine = training(toy_recipe, "freeze={backbone=true}", "data.options.train=16", f"backbone.options.heads={heads}")
        return np.concatenate([x.numpy() for x, _ in mine.fit._feed_of(1).held_out(mine.prepared.evaluated.test)])

    features(1)
    found = features(4)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "fresh"))
    assert np.array_equal(found, features(4))


def of(*modules: tuple[str, nn.Module], build: str = "", options: dict[str, object] | None = None) -> row_keys.Origin:
    network = Network({"stem": Stage(dict(modules))}, nn.Identity()).eval()
    return row_keys.prefix(network, 1, PLAN, backbone="mine", build=build, options=options or {}, device=CPU)


def test_the_order_of_modules_is_in_the_key() -> None:
    one, two = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
    assert of(("f.a", one), ("r", nn.ReLU()), ("f.b", two)) != of(("f.a", one), ("f.b", two), ("r", nn.ReLU()))


def test_options_are_in_the_key() -> None:
    assert of(("c", nn.Identity()), options={"heads": 1}) != of(("c", nn.Identity()), options={"heads": 4})


def test_a_buffer_that_is_not_saved_is_in_the_key() -> None:
    def scaled(factor: float) -> nn.Module:
        module = nn.Identity()
        module.register_buffer("factor", torch.tensor(factor), persistent=False)
        return module

    assert of(("scale", scaled(1.0))) == of(("scale", scaled(1.0)))
    assert of(("scale", scaled(1.0))) != of(("scale", scaled(2.0)))


def test_the_digest_of_weights_is_of_names_types_shapes_and_bits_in_their_order() -> None:
    norm = nn.BatchNorm1d(2)
    expected = hashlib.sha256()
    for name, kind, shape, content in (  # of `Stage`: the module's name comes first
        ("n.weight", "float32", "(2,)", np.ones(2, np.float32)),
        ("n.bias", "float32", "(2,)", np.zeros(2, np.float32)),
        ("n.running_mean", "float32", "(2,)", np.zeros(2, np.float32)),
        ("n.running_var", "float32", "(2,)", np.ones(2, np.float32)),
        ("n.num_batches_tracked", "int64", "()", np.zeros(1, np.int64)),
    ):
        expected.update(f"{name} torch.{kind} {shape}\0".encode() + content.tobytes())
    assert of(("n", norm))["weights"] == expected.hexdigest()
    x = torch.arange(6, dtype=torch.bfloat16)
    found = [x, x.view(torch.float16), x.view(2, 3), x.view(3, 2), x + 1, torch.empty(0)]
    assert len({row_keys.weights([("x", each)]) for each in found}) == len(found)
    assert row_keys.weights([("x", x.view(2, 3).t().contiguous().t())]) == row_keys.weights([("x", x.view(2, 3))])


def test_every_source_of_a_package_is_in_the_digest_of_our_code(lab: Path) -> None:
    before = row_keys.code.__wrapped__("lab_net")
    (lab / "lab_net/helper.py").write_text("slope = 2\n")
    assert row_keys.code.__wrapped__("lab_net") != before
    with pytest.raises(ModuleNotFoundError, match="lab_absent"):
        row_keys.code.__wrapped__("lab_absent")


SOURCES = {
    "lab_net/__init__.py": "",
    "lab_net/build.py": "from lab_net.helper import slope\n",
    "lab_net/helper.py": "slope = 1\n",
    "lab_base/__init__.py": "__version__ = '1'\n",
    "lab_base/layers.py": "from torch import nn\n\n\nclass Base(nn.Module):\n    pass\n",
    "lab_top/__init__.py": "from lab_base.layers import Base\n\n\nclass Mine(Base):\n    pass\n",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three packages: of a build function, of a layer's class, and of that class's base."""
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lab_net", "lab_base", "lab_top")]:
        del sys.modules[name]


@pytest.mark.parametrize("edited", ["lab_net/helper.py", "lab_net/build.py", "lab_base/layers.py", "lab_top/__init__.py"])
def test_the_sources_of_builder_helpers_classes_and_their_bases_are_in_the_key(lab: Path, edited: str) -> None:
    import lab_top

    def key() -> row_keys.Origin:
        return of(("mine", lab_top.Mine()), build="lab_net.build:net")

    before = key()
    assert key() == before
    (lab / edited).write_text((lab / edited).read_text() + "# another\n")
    assert key() != before


def test_the_version_of_a_librarys_layers_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, timm = pytest.importorskip("timm.layers"), pytest.importorskip("timm")
    before = of(("act", layers.Swish()))
    monkeypatch.setattr(timm, "__version__", "0.0.1")
    assert of(("act", layers.Swish())) != before


def test_torchvisions_version_is_read_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    version = row_keys.versions()["torchvision"]
    assert version == torchvision.__version__
    row_keys._torchvision.cache_clear()
    monkeypatch.delitem(sys.modules, "torchvision")
    assert row_keys.versions()["torchvision"] == version
    assert "torchvision" not in sys.modules


def fragile() -> Network:
    """A norm that takes all but nothing from a flat image: there rounding is large beside it, and it is not folded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
    with torch.no_grad():
        conv.weight.mul_(50)
        norm.running_mean.copy_(conv(flat())[0, :, 0, 0])
    return Network({"stem": Stage({"conv1": conv, "bn1": norm})}, nn.Identity()).eval()


def flat() -> Tensor:
    return torch.full((1, 3, 16, 16), 0.37)


def noise() -> Tensor:
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_what_the_sample_image_left_unfolded_is_another_prefix() -> None:
    network = fragile()
    plain, again, folded = (prefix.build(network, 1, PLAN, sample=x) for x in (flat(), flat(), noise()))
    assert plain.fingerprint((16, 16), stop=1) == again.fingerprint((16, 16), stop=1)
    assert plain.fingerprint((16, 16), stop=1) != folded.fingerprint((16, 16), stop=1)


class Leaky(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.slope)


def test_an_attribute_that_repr_hides_is_in_the_fingerprint() -> None:
    def of_slope(slope: float) -> str:
        network = Network({"stem": Stage({"act": Leaky(slope)}), "last": Stage({"act": nn.ReLU()})}, nn.Identity()).eval()
        built = prefix.build(network, 2, PLAN, sample=noise())
        return built.fingerprint((16, 16), stop=1)

    assert of_slope(0.1) == of_slope(0.1)
    assert of_slope(0.1) != of_slope(0.2)


class Gpu:
    """What torch says of a GPU that is not here."""

    capability, cudnn = (9, 0), 91002

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
        patch.setattr(torch.cuda, "get_device_capability", lambda _: self.capability)
        patch.setattr(torch.backends.cudnn, "version", lambda: self.cudnn)


def test_a_gpus_rows_depend_on_its_flags_and_libraries_and_not_on_the_cpus_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    device, gpu = torch.device("cuda"), Gpu()
    gpu.install(monkeypatch)
    usual = row_keys.machine(device)
    assert "threads" not in usual
    assert (usual["device"], "capability 9.0" in usual["arithmetic"], "cuDNN 91002" in usual["arithmetic"]) == (
        "H100",
        True,
        True,
    )
    seen = [usual["arithmetic"]]
    for change in (tf32.forbidden, tf32.allowed):
        with change():
            seen.append(row_keys.machine(device)["arithmetic"])
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "deterministic", True)
        seen.append(row_keys.machine(device)["arithmetic"])
    gpu.capability = (8, 0)
    seen.append(row_keys.machine(device)["arithmetic"])
    gpu.cudnn = 91003
    seen.append(row_keys.machine(device)["arithmetic"])
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("kind", ["conv", "matmul"])
def test_a_cpus_rows_depend_on_how_float32_is_rounded_whichever_way_that_was_set(kind: str) -> None:
    usual, part = row_keys.arithmetic(), getattr(torch.backends.mkldnn, kind)
    assert usual.endswith("highest")
    try:
        part.fp32_precision = "bf16"  # torch.get_float32_matmul_precision() raises where that is done to products
        assert row_keys.arithmetic() != usual
    finally:
        part.fp32_precision = "none"
    assert row_keys.arithmetic() == usual
