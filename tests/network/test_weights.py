"""Weights files: tensors only, every one by name and shape; what does not fit is named and changes nothing."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from tlkit_toy import toy
from tlkit_toy_build import ToyNet
from torch import Tensor

from tlkit.errors import RunFolderError, WeightsError
from tlkit.network import building, tensor_files, weights
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry
from tlkit.sources.weight_files import Reading
from tlkit_heads import LinearOptions, MlpOptions

State = dict[str, Tensor]
CLASSES = ("ant", "bee", "cat", "dog")


def network_of(*, seed: int = 0, classes: int = 4) -> Network:
    head = registry.get(Head, "linear")
    return building.build(toy, head, classes=classes, backbone_options=None, head_options=LinearOptions(), seed=seed)


def mlp_network(*, seed: int, classes: int = 4) -> Network:
    options = MlpOptions(widths=[8])
    return building.build(
        toy, registry.get(Head, "mlp"), classes=classes, backbone_options=None, head_options=options, seed=seed
    )


@pytest.fixture
def state() -> State:
    """The library's own network, a thousand classes, a few batches old."""
    torch.manual_seed(9)
    net = ToyNet(classes=1000)
    net(torch.rand(4, 3, 16, 16))
    return net.state_dict()


def save_safetensors(state: State, path: Path) -> None:
    safetensors.torch.save_file(state, path)


def save_npz(state: State, path: Path) -> None:
    np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})


def save_compressed(state: State, path: Path) -> None:
    np.savez_compressed(path, **{name: tensor.numpy() for name, tensor in state.items()})


def save_legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_wrapped(state: State, path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 190, "best_prec1": 91.7, "state_dict": wrapped}, path)


FORMATS: dict[str, Callable[[State, Path], None]] = {
    "a.safetensors": save_safetensors,
    "a.npz": save_npz,
    "compressed.npz": save_compressed,
    "a.pth": torch.save,
    "legacy.pt": save_legacy,
    "wrapped.th": save_wrapped,
    "model.pth": lambda state, path: torch.save({"model": state, "args": {"lr": 0.1}}, path),
}


def load(network: Network, path: Path) -> None:
    weights.load_(network, path, backbone=toy, name="toy")


def backbone_of(network: Network) -> State:
    return {name: tensor.clone() for name, tensor in network.tensors().items() if not name.startswith("head.")}


def same(first: State, second: State) -> bool:
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_fills_the_backbone_and_leaves_the_head(tmp_path: Path, state: State, name: str) -> None:
    path, network = tmp_path / name, network_of()
    FORMATS[name](state, path)
    head = {key: tensor.clone() for key, tensor in network.head.state_dict().items()}
    load(network, path)
    assert same(backbone_of(network), {key: tensor for key, tensor in state.items() if not key.startswith("fc.")})
    assert same(head, network.head.state_dict())


def test_missing_surplus_and_misshapen_tensors_are_named_together_and_nothing_changes(tmp_path: Path, state: State) -> None:
    path, network = tmp_path / "a.safetensors", network_of()
    del state["block1.0.weight"]
    state["block3.0.weight"] = torch.zeros(2)
    state["bn1.bias"] = torch.zeros(7)
    save_safetensors(state, path)
    before = backbone_of(network)
    with pytest.raises(WeightsError) as caught:
        load(network, path)
    text = str(caught.value)
    assert str(path) in text.splitlines()[0]
    assert "missing: block1.0.weight" in text
    assert "surplus: block3.0.weight" in text
    assert "misshapen: bn1.bias is (7,), toy wants (8,)" in text
    assert same(before, backbone_of(network))


def test_many_differences_are_counted(tmp_path: Path, state: State) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors({name: tensor for name, tensor in state.items() if not name.startswith("block")}, path)
    with pytest.raises(WeightsError, match=r"missing: block1\.0\.weight; block1\.1\.weight; .* and 6 more"):  # 2 x (1 + 4)
        load(network_of(), path)


def test_weights_of_another_resnet_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet34.pth"
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), path)
    backbone = registry.get(Backbone, "resnet18")
    head = registry.get(Head, "linear")
    network = building.build(backbone, head, classes=3, backbone_options=None, head_options=LinearOptions(), seed=0)
    with pytest.raises(WeightsError, match=r"resnet34\.pth: does not fit resnet18\.\n  surplus: layer1\.2\.conv1\.weight"):
        weights.load_(network, path, backbone=backbone, name="resnet18")


def test_a_file_without_batchnorms_counters_is_loaded(tmp_path: Path, state: State) -> None:
    path, network = tmp_path / "a.pth", network_of()
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 3
    torch.save(old, path)
    load(network, path)
    assert torch.equal(network.tensors()["bn1.running_mean"], state["bn1.running_mean"])


def test_running_statistics_are_not_optional(tmp_path: Path, state: State) -> None:
    del state["bn1.running_var"]
    save_safetensors(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"missing: bn1\.running_var"):
        load(network_of(), tmp_path / "a.safetensors")


def test_a_prefix_of_some_names_only_is_no_wrapper(tmp_path: Path, state: State) -> None:
    state["module.conv1.weight"] = state["conv1.weight"] + 1
    save_safetensors(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"surplus: module\.conv1\.weight"):
        load(network_of(), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "model.", "backbone.", "encoder.", "net.", "module._orig_mod.", "model.backbone."]
)
def test_a_prefix_of_every_name_is_taken_off_and_it_is_said(tmp_path: Path, state: State, prefix: str) -> None:
    path, network = tmp_path / "a.pth", network_of()
    torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, path)
    (note,) = weights.load_(network, path, backbone=toy, name="toy")
    assert f'"{prefix.removeprefix("module.")}", which was taken off' in note
    assert same(backbone_of(network), {key: tensor for key, tensor in state.items() if not key.startswith("fc.")})


@pytest.mark.parametrize("classifier", ["head.fc.weight", "fc.weight"])
def test_a_prefix_of_every_name_but_the_classifiers_is_taken_off(tmp_path: Path, state: State, classifier: str) -> None:
    path, network = tmp_path / "a.pth", network_of()
    named = {f"backbone.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
    torch.save(named | {classifier: state["fc.weight"]}, path)
    assert len(weights.load_(network, path, backbone=toy, name="toy")) == 1
    assert torch.equal(network.tensors()["conv1.weight"], state["conv1.weight"])


def test_a_prefix_stays_where_without_it_not_every_name_fits(tmp_path: Path, state: State) -> None:
    del state["block1.0.weight"]
    torch.save({f"model.{name}": tensor for name, tensor in state.items()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"surplus: model\.conv1\.weight"):
        load(network_of(), tmp_path / "a.pth")


def test_names_that_fit_are_taken_as_they_are_and_nothing_is_said(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "a.pth")
    assert weights.load_(network_of(), tmp_path / "a.pth", backbone=toy, name="toy") == ()


def test_a_part_of_a_checkpoint_is_loaded(tmp_path: Path, state: State) -> None:
    path, network = tmp_path / "a.pth", network_of()
    torch.save({"model": state, "model_ema": {name: tensor + 1 for name, tensor in state.items()}}, path)
    assert "EMA" in weights.load_(network, path, backbone=toy, name="toy")[0]
    assert torch.equal(network.tensors()["conv1.weight"], state["conv1.weight"] + 1)
    assert weights.load_(network, path, backbone=toy, name="toy", reading=Reading(part="model")) == ()
    assert torch.equal(network.tensors()["conv1.weight"], state["conv1.weight"])


def zoo_network(name: str) -> tuple[Backbone, Network]:
    backbone, head = registry.get(Backbone, name), registry.get(Head, "linear")
    return backbone, building.build(backbone, head, classes=3, backbone_options=None, head_options=LinearOptions(), seed=0)


def library_state(name: str, **more: object) -> State:
    """Tensors with the names and shapes of torchvision's own network."""
    with torch.device("meta"):
        named = getattr(torchvision.models, name)(weights=None, **more).state_dict()
    return {key: torch.rand(tensor.shape).to(tensor.dtype) for key, tensor in named.items()}


@pytest.mark.parametrize(("name", "aux_heads"), [("googlenet", "aux1, aux2"), ("inception_v3", "AuxLogits")])
def test_a_file_without_auxiliary_classifiers_is_taken_and_it_is_said(tmp_path: Path, name: str, aux_heads: str) -> None:
    theirs = library_state(name, aux_logits=False, init_weights=False)
    torch.save(theirs, tmp_path / "a.pth")
    backbone, network = zoo_network(name)
    random = {key: tensor.clone() for key, tensor in network.aux_heads.state_dict().items()}
    (note,) = weights.load_(network, tmp_path / "a.pth", backbone=backbone, name=name)
    assert f"no tensors of {aux_heads}" in note
    assert "begin at random" in note
    assert same(random, network.aux_heads.state_dict())
    assert all(torch.equal(network.tensors()[key], tensor) for key, tensor in theirs.items() if not key.startswith("fc."))


def test_a_part_of_an_auxiliary_classifier_is_not_enough(tmp_path: Path) -> None:
    backbone, network = zoo_network("googlenet")
    found = {key: tensor for key, tensor in network.tensors().items() if not key.startswith("aux1.conv")}
    torch.save(found, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"missing: aux1\.conv"):
        weights.load_(network, tmp_path / "a.pth", backbone=backbone, name="googlenet")


def test_densenets_old_names_are_known_in_any_file(tmp_path: Path) -> None:
    backbone, network = zoo_network("densenet121")
    state = library_state("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor for name, tensor in state.items()}
    assert old.keys() != state.keys()
    torch.save({f"model.{name}": tensor for name, tensor in old.items()}, tmp_path / "a.pth")
    prefix, names = weights.load_(network, tmp_path / "a.pth", backbone=backbone, name="densenet121")
    assert '"model."' in prefix
    assert "brought to these" in names
    assert all(torch.equal(network.tensors()[key], state[key]) for key in state if not key.startswith("classifier."))


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("name", ["new.pth", "legacy.pth", "bare.pkl", "object.npz"])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, state: State, name: str) -> None:
    path, target = tmp_path / name, tmp_path / "owned"
    contents = {**state, "conv1.weight": Malicious(target)}
    if name == "new.pth":
        torch.save(contents, path)
    elif name == "legacy.pth":
        torch.save(contents, path, _use_new_zipfile_serialization=False)
    elif name == "bare.pkl":
        path.write_bytes(pickle.dumps(contents["conv1.weight"]))
    else:
        np.savez(path, **{"conv1.weight": np.array([contents["conv1.weight"]], dtype=object)})
    with pytest.raises(WeightsError, match="cannot be read as weights") as caught:
        load(network_of(), path)
    assert str(path) in caught.value.problem
    assert not target.exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "compressed.npz", "a.pth", "legacy.pt"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, state: State, name: str, part: float) -> None:
    path = tmp_path / name
    FORMATS[name](state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(WeightsError) as caught:
        load(network_of(), path)
    assert caught.value.problem.startswith(f"{path}: ")
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pth"])
@pytest.mark.parametrize("content", [b"\0" * 4096, b"<!DOCTYPE html>" * 40, b"\x80\x02}q\x00.", os.urandom(2048)])
def test_garbage_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(path)
    assert caught.value.problem.startswith(f"{path}: ")


@pytest.mark.parametrize("contents", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": 1.0}}, torch.zeros(3)])
def test_a_torch_file_without_named_tensors_is_refused(tmp_path: Path, contents: object) -> None:
    torch.save(contents, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="holds no named tensors"):
        tensor_files.read(tmp_path / "a.pth")


def test_export_and_import_names_are_inverse() -> None:
    network = network_of()
    exported = weights.export(network, toy, linear=True)
    assert {"fc.weight", "fc.bias"} < set(exported)
    assert not any(name.startswith("head.") for name in exported)
    assert set(weights.import_names(exported, toy)) == set(network.tensors())


def write_run(network: Network, path: Path, *, linear: bool, classes: str = '["ant", "bee", "cat", "dog"]') -> None:
    path.write_bytes(weights.to_bytes(weights.export(network, toy, linear=linear), {"classes": classes}))


@pytest.mark.parametrize("linear", [True, False])
def test_an_earlier_run_of_the_same_classes_brings_backbone_and_head(tmp_path: Path, linear: bool) -> None:
    make = network_of if linear else mlp_network
    path, before, network = tmp_path / "weights.safetensors", make(seed=1), make(seed=2)
    write_run(before, path, linear=linear)
    assert weights.load_run_(network, path, backbone=toy, name="toy", classes=CLASSES)
    assert same(network.tensors(), before.tensors())


@pytest.mark.parametrize(
    ("earlier", "now", "classes"),
    [
        (network_of, mlp_network, CLASSES),
        (mlp_network, network_of, CLASSES),
        (network_of, network_of, ("ant", "bee", "cat", "eel")),
        (mlp_network, mlp_network, ("bee", "ant", "cat", "dog")),
    ],
)
def test_an_earlier_run_of_another_head_or_classes_brings_its_backbone_alone(
    tmp_path: Path, earlier: Callable[..., Network], now: Callable[..., Network], classes: tuple[str, ...]
) -> None:
    path, before, network = tmp_path / "weights.safetensors", earlier(seed=1), now(seed=2)
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    write_run(before, path, linear=earlier is network_of)
    assert not weights.load_run_(network, path, backbone=toy, name="toy", classes=classes)
    assert same(backbone_of(network), backbone_of(before))
    assert same(network.head.state_dict(), head)


def test_an_earlier_run_of_another_backbone_is_refused(tmp_path: Path, state: State) -> None:
    state["block1.0.weight"] = torch.zeros(1, 1, 1, 1)
    save_safetensors(state, tmp_path / "weights.safetensors")
    network = network_of()
    before = {name: tensor.clone() for name, tensor in network.tensors().items()}
    with pytest.raises(WeightsError, match=r"misshapen: block1\.0\.weight is \(1, 1, 1, 1\), toy wants \(8, 8, 3, 3\)"):
        weights.load_run_(network, tmp_path / "weights.safetensors", backbone=toy, name="toy", classes=CLASSES)
    assert same(network.tensors(), before)


def test_a_runs_own_weights_that_do_not_fit_are_the_run_folders_fault(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_run(network_of(classes=5), path, linear=True)
    with pytest.raises(RunFolderError, match=r"misshapen: head\.weight is \(5, 16\), this run's network wants \(4, 16\)"):
        weights.load_whole_(network_of(), path, backbone=toy)


def test_text_beside_the_tensors_survives(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights.to_bytes({"a": torch.ones(2)}, {"classes": '["é"]', "note": "x"}))
    assert weights.metadata(path) == {"classes": '["é"]', "note": "x"}
    assert weights.class_names(path) == ("é",)
    with safetensors.safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), torch.ones(2))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_the_resnets_offer_torchvisions_own_files_with_its_own_preprocessing(depth: int) -> None:
    backbone = registry.get(Backbone, f"resnet{depth}")
    theirs = getattr(torchvision.models, f"ResNet{depth}_Weights")
    assert {name.upper().replace("-", "_") for name in backbone.weights} == {member.name for member in theirs}
    for name, offered in backbone.weights.items():
        member = theirs[name.upper().replace("-", "_")]
        assert offered.source.url == member.url
        assert offered.source.filename == member.url.rpartition("/")[2]
        assert offered.source.checksum == "sha256:" + offered.source.filename[-12:-4]
        transform = member.transforms()
        assert offered.input.mean == tuple(transform.mean)
        assert offered.input.std == tuple(transform.std)
        assert offered.input.resize == transform.interpolation.value
        assert round(transform.crop_size[0] / offered.input.crop) == transform.resize_size[0]
        assert offered.classes == len(member.meta["categories"])


@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_a_real_parallel_checkpoint_is_read_without_its_wrapper_and_prefix(test_data: Path, name: str) -> None:
    tensors = tensor_files.read(test_data / "weights" / name).tensors
    assert tensors["conv1.weight"].shape == (16, 3, 3, 3)
    assert tensors["linear.weight"].shape == (10, 64)


def test_a_real_npz_is_read_with_its_names(test_data: Path) -> None:
    tensors = tensor_files.read(test_data / "weights" / "squeezenet1_0_caffe_bgr.npz").tensors
    assert set(tensors) == set(torchvision.models.squeezenet1_0(weights=None).state_dict())


def test_whole_numbers_for_a_floating_parameter_are_refused(tmp_path: Path, state: State) -> None:
    path, network = tmp_path / "a.safetensors", network_of()
    before = backbone_of(network)
    save_safetensors(state | {"bn1.bias": torch.zeros(8, dtype=torch.int64)}, path)
    with pytest.raises(WeightsError, match=r"bn1\.bias is int64, toy wants float32"):
        load(network, path)
    assert same(before, backbone_of(network))


@pytest.mark.parametrize("value", [torch.tensor(float("nan")), torch.tensor(1e300, dtype=torch.float64)])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, state: State, value: Tensor) -> None:
    path, network = tmp_path / "a.safetensors", network_of()
    before = backbone_of(network)
    save_safetensors(state | {"bn1.bias": value.repeat(8)}, path)
    with pytest.raises(WeightsError, match=r"not finite.*\n.*bn1\.bias"):
        load(network, path)
    assert same(before, backbone_of(network))
