"""Which tensors of a file are taken: wrappers, averages and parts; and what is said of files that hold none."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tlkit.errors import WeightsError
from tlkit.network import tensor_files

RAW = {"conv1.weight": torch.zeros(2, 3), "bn1.bias": torch.zeros(2)}
AVERAGE = {name: tensor + 1 for name, tensor in RAW.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def saved(contents: object, folder: Path) -> Path:
    torch.save(contents, folder / "a.pth")
    return folder / "a.pth"


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "key",
    [
        *("state_dict", "model_state_dict", "model", "model_state", "model_weights", "net", "network", "params", "weights"),
        *("ema", "model_ema", "state_dict_ema", "params_ema", "ema_state_dict"),
    ],
)
def test_the_usual_wrappers_are_taken_off(tmp_path: Path, key: str) -> None:
    found = tensor_files.read(saved({"epoch": 3, "optimizer": OPTIMIZER, "best": torch.tensor(0.9), key: RAW}, tmp_path))
    assert same(found.tensors, RAW)
    assert not found.notes


def test_wrappers_in_wrappers_are_taken_off(tmp_path: Path) -> None:
    path = saved(
        {"model": {"state_dict": {f"module.{name}": tensor for name, tensor in RAW.items()}}, "args": {"lr": 1}}, tmp_path
    )
    assert same(tensor_files.read(path).tensors, RAW)


def test_a_state_dict_with_other_entries_is_one(tmp_path: Path) -> None:
    assert same(tensor_files.read(saved({**RAW, "epoch": 12, "arch": "resnet18", "opt": {}}, tmp_path)).tensors, RAW)


@pytest.mark.parametrize(
    ("raw", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("params", "params_ema")]
)
def test_of_weights_and_their_average_the_average_is_taken_and_said(tmp_path: Path, raw: str, average: str) -> None:
    path = saved({raw: RAW, average: AVERAGE}, tmp_path)
    found = tensor_files.read(path)
    assert same(found.tensors, AVERAGE)
    (note,) = found.notes
    assert f'"{average}", an average (EMA), are taken' in note
    assert f'"a.pth#{raw}"' in note
    chosen = tensor_files.read(path, raw)
    assert same(chosen.tensors, RAW)
    assert not chosen.notes


def test_torchs_own_averaged_model_is_read(tmp_path: Path) -> None:
    """As torchvision's reference training saves model_ema."""
    net = nn.Linear(2, 3)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    found = tensor_files.read(saved({"model": RAW, "model_ema": averaged.state_dict()}, tmp_path)).tensors
    assert same(found, net.state_dict())


def test_a_part_may_lie_in_another_and_have_dots(tmp_path: Path) -> None:
    path = saved({"a.b": {"student": RAW, "teacher": AVERAGE}, "epoch": 1}, tmp_path)
    assert same(tensor_files.read(path, "a.b.teacher").tensors, AVERAGE)


def test_a_part_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(saved({"student": RAW, "teacher": AVERAGE, "epoch": 3}, tmp_path), "pupil")
    text = str(caught.value)
    assert 'has no part "pupil"' in text
    assert "it holds: student, teacher, epoch" in text
    assert '"a.pth#teacher"' in text


def test_tensors_under_several_unknown_keys_are_listed_and_none_is_taken(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(saved({"student": RAW, "teacher": AVERAGE, "epoch": 3}, tmp_path))
    text = str(caught.value)
    assert "holds no named tensors" in text
    assert "it holds: student, teacher, epoch" in text
    assert '"a.pth#student", "a.pth#teacher"' in text


def test_tensors_under_one_unknown_key_are_taken_and_it_is_said(tmp_path: Path) -> None:
    found = tensor_files.read(saved({"generator": RAW, "optimizer": OPTIMIZER}, tmp_path))
    assert same(found.tensors, RAW)
    assert found.notes == ('its tensors under "generator" are taken',)


def test_a_file_without_tensors_lists_its_keys(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no named tensors\.\n  it holds: epoch, optimizer\n"):
        tensor_files.read(saved({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path))


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><title>Sign in</title>", "is a web page, not weights"),
        (b"\n <HTML>\n<head>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46827520\n", "is a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
        (b"\x1f\x8b\x08" + bytes(100), "is a compressed file"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is an image, not weights"),
    ],
)
def test_what_is_no_weights_file_is_called_what_it_is(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(tmp_path / name)
    assert words in caught.value.problem


def test_text_is_no_file_of_torch(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("format = 1\n")
    with pytest.raises(WeightsError, match=r"is no file of torch\.save"):
        tensor_files.read(tmp_path / "a.pth")


def test_a_file_that_can_be_read_is_not_judged_by_how_it_begins(tmp_path: Path) -> None:
    """The length of this header, in its first bytes, is the mark of a gzip file."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(0x8B1F)
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert same(tensor_files.read(tmp_path / "a.safetensors").tensors, {"a": torch.zeros(1)})
