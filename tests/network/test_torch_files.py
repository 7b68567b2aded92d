"""Files of torch.save are read without running code of theirs; the objects that checkpoints of the field hold do not hinder."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tlkit.errors import WeightsError
from tlkit.network import tensor_files, torch_files

STATE = {"conv1.weight": torch.arange(6.0).view(2, 3), "bn1.bias": torch.ones(2)}
BESIDE: dict[str, Callable[[], object]] = {
    "argparse.Namespace": lambda: argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out"), amp=None),
    "a numpy float": lambda: np.float64(76.13),
    "a numpy int": lambda: np.int64(3),
    "a numpy array": lambda: np.arange(3.0),
    "a numpy dtype": lambda: np.dtype("float32"),
    "a path": lambda: pathlib.PurePosixPath("/data/imagenet"),
    "a path of this system": lambda: Path("/data/imagenet"),
    "a path of Windows": lambda: pathlib.PureWindowsPath("C:/data"),
    "a defaultdict": lambda: collections.defaultdict(list, {"loss": [1.0]}),
    "a deque": lambda: collections.deque([1, 2], maxlen=5),
    "a time": lambda: datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
    "torch's version": lambda: torch.__version__,
    "a counter": lambda: collections.Counter("aab"),
}


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("what", BESIDE)
def test_what_training_scripts_save_beside_the_weights_does_not_hinder(tmp_path: Path, what: str, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": STATE, "args": BESIDE[what]()}, path, _use_new_zipfile_serialization=zipped)
    assert same(tensor_files.read(path).tensors)


def test_a_configuration_of_another_package_is_read_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the checkpoints of Swin transformers hold one of yacs."""
    module = type(os)("yacs.config")
    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module.__dict__["CfgNode"] = node
    for name in ("yacs", "yacs.config"):
        monkeypatch.setitem(__import__("sys").modules, name, module)
    torch.save({"model": STATE, "config": node(TRAIN=node(LR=0.1))}, tmp_path / "a.pth")
    monkeypatch.undo()
    assert same(tensor_files.read(tmp_path / "a.pth").tensors)


class Malicious:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.how = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.how


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "eval"),
        (exec, "exec"),
        (getattr, "getattr"),
        (os.mkdir, "posix.mkdir"),
        (open, "open"),
    ],
)
def test_nothing_of_a_hostile_file_is_run(tmp_path: Path, function: Callable[..., object], name: str, zipped: bool) -> None:
    path, target = tmp_path / "a.pth", tmp_path / "owned"
    arguments = {
        os.system: (f"touch {target}",),
        eval: (f"open({str(target)!r}, 'w')",),
        exec: (f"open({str(target)!r}, 'w')",),
        getattr: (Path, "touch"),
        os.mkdir: (str(target),),
        open: (str(target), "w"),
    }[function]
    for hidden in (
        {"model": STATE, "args": Malicious(function, *arguments)},
        {"model": STATE, Malicious(function, *arguments): 1},
    ):
        torch.save(hidden, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError) as caught:
            tensor_files.read(path)
        assert "Python objects beside tensors" in caught.value.problem
        assert name in caught.value.problem
        assert "nothing of the file was run" in str(caught.value)
        assert not target.exists()


def test_an_admitted_object_keeps_nothing_and_calls_nothing(tmp_path: Path) -> None:
    """Its class is not the one that the file names, so whatever the file says of its state has no effect."""
    torch.save({"model": STATE, "args": argparse.Namespace(run="x")}, tmp_path / "a.pth")
    contents = torch_files.load(tmp_path / "a.pth")
    assert isinstance(contents, dict)
    assert not isinstance(contents["args"], argparse.Namespace)
    assert not vars(contents["args"])


def test_what_is_admitted_here_is_admitted_nowhere_else(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth")
    tensor_files.read(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_told_how_to_save_its_tensors(tmp_path: Path, zipped: bool) -> None:
    torch.save(Net(), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(tmp_path / "a.pth")
    text = str(caught.value)
    assert "Net" in text
    assert "torch.nn.modules.conv.Conv2d" in text
    assert "torch.save(model.state_dict(), FILE)" in text
    assert "weights_only" not in text
    assert "safe_globals" not in text


def test_a_torchscript_program_is_called_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:  # as torch.jit.save lays it out
        archive.writestr("a/constants.pkl", pickle.dumps((), 2))
        archive.writestr("a/data.pkl", b"\x80\x02c__torch__\nNet\nq\x00)\x81.")
        archive.writestr("a/version", "3")
        archive.writestr("a/code/__torch__.py", "")
    with pytest.raises(WeightsError, match="it is a TorchScript program"):
        tensor_files.read(tmp_path / "a.pt")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_bare_pickle_is_refused_in_plain_words(tmp_path: Path, protocol: int) -> None:
    contents = {"model": STATE["conv1.weight"].numpy(), "args": Net}
    (tmp_path / "a.pth").write_bytes(pickle.dumps(contents, protocol))
    with pytest.raises(WeightsError) as caught:
        tensor_files.read(tmp_path / "a.pth")
    assert "Net" in str(caught.value)
    assert "weights_only" not in str(caught.value)
