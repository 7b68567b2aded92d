"""`tlkit check` finds what a plugin breaks; each broken plugin here is a real one, one line away from a sound one."""

import itertools
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from tlkit_toy import toy
from torch import Tensor, nn

from tlkit import api, network, testing
from tlkit.engine.prefix import prefix
from tlkit.errors import DataError, PluginError, TlkitError
from tlkit.network.network import Network
from tlkit.network.stages import Stage
from tlkit.plugin import Backbone, DataFiles, Dataset, Head, Images, Split
from tlkit.record.formats import PrefixPlan

SOUND = Backbone(
    build="test_contract:sound",
    stages={"stem": ("conv1", "bn1"), "top": ("block", "last")},
    features=6,
    classifier="fc",
    image_size=16,
    minimum_size=5,
)


def stages(
    *, top: nn.Module | None = None, bn: nn.Module | None = None, after: nn.Module | None = None
) -> dict[str, nn.Module]:
    stem = {"conv1": nn.Conv2d(3, 4, 3), "bn1": bn or nn.BatchNorm2d(4), "relu": nn.ReLU()}
    rest = {"block": top or nn.Conv2d(4, 4, 1), "last": nn.Conv2d(4, 6, 3)}
    return {"stem": Stage(stem), "top": Stage(rest | ({"after": after} if after else {}))}


def sound() -> dict[str, nn.Module]:
    return stages()


def shared_parameter() -> dict[str, nn.Module]:
    built = stages()
    built["top"].block.bias = built["stem"].conv1.bias
    return built


def doubled_name() -> dict[str, nn.Module]:
    stem = Stage({"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4, affine=False)})
    top = Stage({"block": nn.Conv2d(4, 4, 1), "last": nn.Conv2d(4, 6, 3), "bn1": nn.BatchNorm2d(6, affine=False)})
    return {"stem": stem, "top": top}


class Counts(nn.Module):
    """Gives something else at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class CountsLate(Counts):
    """Gives something else from the fifth call on: after the whole network was called, twice, and an image of the least size."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + (self.calls > 4)


def cut_otherwise() -> dict[str, nn.Module]:
    return stages(after=CountsLate())


def not_a_function() -> dict[str, nn.Module]:
    return stages(after=Counts())


class FromNumpy(nn.Module):
    """A weight that never lies on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.ones(4, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None]


def from_numpy() -> dict[str, nn.Module]:
    return stages(top=FromNumpy())


def tensor_widths() -> dict[str, nn.Module]:
    """Counts with tensors while it is built, as torchvision's RegNet does."""
    width = int((torch.linspace(2, 4, 3) * 2).round().tolist()[1])
    return stages(bn=nn.BatchNorm2d(4), top=nn.Conv2d(4, width - 2, 1))


def reads_a_weight() -> dict[str, nn.Module]:
    built = stages()
    if built["stem"].conv1.weight.detach().sum().item() > 1e9:
        raise AssertionError
    return built


class Loudest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2 if x.max() > 1e9 else x


def looks_at_a_value() -> dict[str, nn.Module]:
    return stages(after=Loudest())


def of_one_size() -> dict[str, nn.Module]:
    return stages(after=nn.Sequential(nn.Flatten(), nn.Linear(6 * 12 * 12, 6)))


def broken_weights() -> dict[str, nn.Module]:
    raise FileNotFoundError("weights.pth")


def weight_norm() -> dict[str, nn.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return stages(top=nn.utils.weight_norm(nn.Conv2d(4, 4, 1)))


def test_a_backbone_that_cannot_be_copied_is_refused_with_what_can_be() -> None:
    broken = replace(SOUND, build="test_contract:weight_norm")
    for refused in (
        lambda: list(testing.check_backbone(broken)),
        lambda: prefix.build(Network(weight_norm(), nn.Identity()).eval(), 2, PrefixPlan(), sample=torch.rand(1, 3, 16, 16)),
    ):
        with pytest.raises(PluginError) as caught:
            refused()
        assert "stage top: cannot be copied" in str(caught.value)
        assert "torch.nn.utils.parametrizations.weight_norm" in str(caught.value)


@pytest.mark.parametrize("backbone", [SOUND, toy])
def test_a_sound_backbone_passes_every_check(backbone: Backbone) -> None:
    said = list(testing.check_backbone(backbone))
    assert said[0] == f"builds its stages: {', '.join(backbone.stages)}"
    assert f"gives {backbone.features} features of 16 px" in said
    assert "gives the same output cut after any stage" in said
    assert said[-1] == "runs on shapes alone, for plans"


@pytest.mark.parametrize("build", ["from_numpy", "tensor_widths", "reads_a_weight"])
def test_a_backbone_that_cannot_be_built_on_the_meta_device_is_built_on_the_cpu(build: str) -> None:
    assert "runs on shapes alone, for plans" in list(testing.check_backbone(replace(SOUND, build=f"test_contract:{build}")))


def regnet() -> dict[str, nn.Module]:
    net = torchvision.models.regnet_y_400mf()
    blocks = {f"block{n}": [f"trunk_output.block{n}"] for n in range(1, 5)}
    return network.cut(net, {"stem": ["stem"], **blocks})


REGNET = Backbone(
    build="test_contract:regnet",
    stages={"stem": ("stem",), **{f"block{n}": (f"trunk_output.block{n}",) for n in range(1, 5)}},
    features=440,
    classifier="fc",
    library="torchvision.models.regnet_y_400mf",
)


def test_torchvisions_regnet_is_a_plugin_like_any_other(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes its widths with tensors while it is built, so that it cannot be built on the meta device."""
    with pytest.raises(Exception, match="meta"), torch.device("meta"):  # whatever torch raises
        torchvision.models.regnet_y_400mf()
    assert list(testing.check_backbone(REGNET))[-1] == "runs on shapes alone, for plans"
    monkeypatch.setattr("tlkit_toy.toy", REGNET)
    plan = api.plan(toy_recipe, ["data.image_size=32", "freeze={backbone=true}"])["main"]
    theirs = sum(p.numel() for name, p in torchvision.models.regnet_y_400mf().named_parameters() if name[:3] != "fc.")
    assert plan.total == theirs + 440 * 4 + 4


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (replace(SOUND, features=7), ["pooled output is (2, 6)", "declared are 7", "features=6"]),
        (replace(SOUND, build="test_contract:shared_parameter"), ["block.bias and conv1.bias are one parameter"]),
        (replace(SOUND, build="test_contract:doubled_name"), ["two stages hold bn1."]),
        (replace(SOUND, build="test_contract:cut_otherwise"), ["cut after stem, the output is another"]),
        (replace(SOUND, build="test_contract:not_a_function"), ["called twice", "two outputs", "self.training"]),
        (
            replace(SOUND, build="test_contract:looks_at_a_value"),
            ["forward fails on the meta device", "may not look at values"],
        ),
        (replace(SOUND, build="test_contract:broken_weights"), ["failed: FileNotFoundError: weights.pth"]),
        (
            replace(SOUND, build="test_contract:missing"),
            ["cannot be loaded", "missing", "names a function that test_contract has not"],
        ),
        (replace(SOUND, build="tlkit_not_there:sound"), ["cannot be loaded", "tlkit_not_there"]),
        (replace(SOUND, minimum_size=4), ["does not take images of 4 px", "minimum_size=4"]),
        (
            replace(SOUND, build="test_contract:of_one_size", stages=SOUND.stages | {"top": ("block", "last", "after")}),
            ["does not take images of 5 px"],
        ),
        (replace(SOUND, stages={"stem": ("conv1",), "top": ("block", "last")}), ["stage stem holds bn1.weight", "conv1"]),
        (replace(SOUND, stages={"stem": ("conv1", "bn1", "bn2"), "top": ("block", "last")}), ["stem declares bn2"]),
        (replace(SOUND, stages=dict(reversed(SOUND.stages.items()))), ["builds the stages ['stem', 'top']"]),
        (replace(SOUND, stages=SOUND.stages | {"neck": ("neck",)}), ["it declares ['stem', 'top', 'neck']"]),
    ],
)
def test_a_broken_backbone_is_told_what_breaks(broken: Backbone, words: list[str]) -> None:
    with pytest.raises(PluginError) as caught:
        list(testing.check_backbone(broken))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": {"head": ("conv1",)}}, ["cannot be called head"]),
        ({"stages": {"backbone": ("conv1",)}}, ["cannot be called backbone"]),
        ({"stages": {"t.op": ("block",)}}, ["cannot be called t.op"]),
        ({"stages": {}}, ["stages is {}", '{"stem": ("conv1", "bn1")}']),
        ({"stages": [("stem", ("conv1",))]}, ["stages is [("]),
        ({"stages": {"stem": ("conv1")}}, ["stage stem is 'conv1'", '("conv1",)']),
        ({"stages": {3: ("conv1",)}}, ["cannot be called 3"]),
        ({"features": 0}, ["features is 0", "at least 1"]),
        ({"features": 6.0}, ["features is 6.0"]),
        ({"image_size": True}, ["image_size is True"]),
        ({"minimum_size": -1}, ["minimum_size is -1"]),
        ({"options": dict}, ["options is <class 'dict'>", "tlkit.plugin.Options"]),
    ],
)
def test_a_declaration_that_breaks_the_contract_is_refused_when_it_is_made(
    changes: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(PluginError) as caught:
        replace(SOUND, **changes)
    for word in ["test_contract:sound", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", [partial(Dataset, read="a:b"), partial(Head, build="a:b")])
def test_options_are_a_model(kind: Callable[..., object]) -> None:
    with pytest.raises(PluginError, match="a:b: options is 3"):
        kind(options=3)


@pytest.mark.parametrize(("version", "words"), [(lambda *_: 2, "its version gives 2"), (lambda _: "2", "its version fails")])
def test_a_version_of_a_data_set_is_text(version: Callable[..., object], words: str) -> None:
    with pytest.raises(PluginError, match=f"a:b: {words}"):
        Dataset(read="a:b", version=version).version_of()
    with pytest.raises(PluginError, match="a:b: version is 2"):
        Dataset(read="a:b", version=2)


PIXELS = np.zeros((6, 4, 4, 3), np.uint8)
LABELS = np.arange(6) % 2


def images(
    *, classes: tuple[str, ...] = ("a", "b"), pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS, split: str = "test"
) -> Images:
    return Images(classes, {"train": Split(LABELS, pixels=PIXELS), split: Split(labels, pixels=pixels)})


def good(found: DataFiles, options: object) -> Images:
    return images()


DATASETS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no_train": (lambda: Images(("a", "b"), {"test": Split(LABELS, pixels=PIXELS)}), ["with a split named train"]),
    "no_images": (lambda: PIXELS, ["gave ndarray"]),
    "twin_names": (lambda: images(classes=("a", "a")), ["two classes have one name"]),
    "one_class": (lambda: images(classes=("a",)), ["classes are ('a',)", "at least 2"]),
    "classes_list": (lambda: images(classes=["a", "b"]), ["classes are ['a', 'b']"]),
    "empty_name": (lambda: images(classes=("a", "")), ["classes are ('a', '')"]),
    "splits_list": (lambda: Images(("a", "b"), ["train"]), ["with a split named train"]),
    "no_split": (lambda: Images(("a", "b"), {"train": LABELS}), ["train is of type ndarray", "tlkit.plugin.Split"]),
    "label_list": (lambda: images(labels=[0, 1] * 3), ["test: targets are of type list", "int64"]),
    "label_shape": (lambda: images(labels=LABELS[:, None]), ["test: targets are int64 (6, 1)"]),
    "pixel_list": (lambda: images(pixels=[0] * 6), ["test: pixels are of type list"]),
    "file_names": (lambda: Images(("a", "b"), {"train": Split(LABELS, files=("x",) * 6)}), ["train: files", "pathlib.Path"]),
    "odd_split": (lambda: images(split="extra"), ['a split "extra"']),
    "label_type": (lambda: images(labels=LABELS.astype(np.int32)), ["test: targets are int32", "int64"]),
    "pixel_type": (lambda: images(pixels=PIXELS.astype(np.float32)), ["test: pixels are float32", "uint8"]),
    "grey": (lambda: images(pixels=PIXELS[..., 0]), ["test: pixels are uint8 (6, 4, 4)"]),
    "channels_first": (lambda: images(pixels=np.zeros((6, 3, 8, 8), np.uint8)), ["(N, H, W, 3)"]),
    "out_of_range": (lambda: images(labels=LABELS + 1), ["label 2 is out of range", "0 to 1"]),
    "negative": (lambda: images(labels=LABELS - 1), ["label -1 is out of range"]),
    "uneven": (lambda: images(labels=LABELS[:5]), ["6 images and 5 targets"]),
    "empty": (lambda: images(labels=LABELS[:0], pixels=PIXELS[:0]), ["0 images"]),
    "another order": (lambda: images(pixels=PIXELS + next(COUNT)), ["read twice, it gives other images"]),
}


def bad(found: DataFiles, options: object) -> object:
    return DATASETS[BROKEN[0]][0]()


BROKEN = [""]
COUNT = itertools.count()


def test_a_sound_data_set_passes_every_check() -> None:
    said = list(testing.check_dataset("good", Dataset(read="test_contract:good", classes=2)))
    assert said[1:] == [
        "has 2 classes with names of their own", "train: 6 images with targets in range", "test: 6 images with targets in range",
        "gives the same images in the same order when it is read again",
    ]  # fmt: skip
    newer = list(
        testing.check_dataset("good", Dataset(read="test_contract:good", version=lambda _, folds: "2" if folds else ""))
    )
    assert newer == [*said, "is read in version 2: finished runs of another version do not count"]


@pytest.mark.parametrize("name", DATASETS)
def test_a_broken_data_set_is_told_what_breaks(name: str) -> None:
    BROKEN[0] = name
    with pytest.raises((PluginError, DataError)) as caught:
        list(testing.check_dataset("bad", Dataset(read="test_contract:bad")))
    for word in ["test_contract:bad", "it comes with test_contract", *DATASETS[name][1]]:
        assert word in str(caught.value)


def test_a_data_set_with_other_classes_than_declared_is_refused() -> None:
    with pytest.raises(PluginError, match="gives 2 classes, declared are 10"):
        list(testing.check_dataset("good", Dataset(read="test_contract:good", classes=10)))


def test_every_installed_name_can_be_checked_and_another_gets_the_nearest() -> None:
    assert any("features of 16 px" in line for line in testing.check("toy"))
    assert any("images with targets in range" in line for line in testing.check("synthetic"))
    with pytest.raises(TlkitError, match='did you mean "synthetic"') as caught:
        list(testing.check("syntetic"))
    assert "tlkit list" in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_the_first_party_backbones_keep_the_contract(name: str) -> None:
    assert "gives 512 features of 64 px" in list(testing.check(name))


def test_a_data_set_that_is_not_here_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(testing.check("cifar10", data=tmp_path))
    assert str(tmp_path) in str(caught.value)
