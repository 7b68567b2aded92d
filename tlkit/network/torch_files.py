"""Load a file that torch.save wrote, without running code of it.

The rule: torch's own reader for tensors alone does it. Of the other Python objects that training checkpoints hold, only those listed
here are admitted, and each is read as an empty stand-in: nothing of its class is called.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import torch

from tlkit.errors import WeightsError, first_and_more

_PICKLE = 64 * 2**20  # bytes of a pickle that are looked through for the names of objects
_SHOWN = 6  # names that a message lists
_SAVE = "save its tensors alone, in the program that made it: torch.save(model.state_dict(), FILE)"

# What torch's own reader admits: tensors, their storages and dtypes, and plain containers.
_TENSORS = re.compile(
    r"torch\.(\w*Storage|Size|Tensor|device|bool|half|bfloat16|(q?u?int|float|complex)[0-9]+\w*|storage\.\w+Storage)|"
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|"
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|complex)"
)


class _Ignored:
    """Stands for an object that is not needed: it takes whatever it is made from, and keeps nothing."""

    def __new__(cls, *_: object) -> _Ignored:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _mapping(*_: object) -> OrderedDict[str, object]:
    """Stands for the class of a dict that is filled afterwards."""
    return OrderedDict()


def _sequence(*_: object) -> list[object]:
    """Stands for the class of a list that is filled afterwards."""
    return []


# Objects that checkpoints of the field hold beside tensors: command-line options, paths, times, numbers of numpy, configurations.
_IGNORED = {
    "argparse": "Namespace",
    "builtins": "bool bytes dict float frozenset int list slice str tuple",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "numpy": "bool_ dtype float16 float32 float64 int32 int64 ndarray",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy.dtypes": "BoolDType Float16DType Float32DType Float64DType Int32DType Int64DType StrDType UInt8DType",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode FloatNode IntegerNode StringNode",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "torch.torch_version": "TorchVersion",
    "types": "SimpleNamespace",
    "typing": "Any",
}
# Dicts of a class of their own.
_MAPPINGS = {
    "addict.addict": "Dict",
    "easydict": "EasyDict",
    "fvcore.common.config": "CfgNode",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "mmcv.utils.config": "ConfigDict",
    "mmengine.config.config": "ConfigDict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "yacs.config": "CfgNode",
}
_ADMITTED: tuple[tuple[Callable[..., object], str], ...] = (
    *((_Ignored, f"{module}.{name}") for module, names in _IGNORED.items() for name in names.split()),
    *((OrderedDict, f"{module}.{name}") for module, name in _MAPPINGS.items()),
    (_mapping, "collections.defaultdict"),
    (_sequence, "collections.deque"),
)


def load(path: Path) -> object:
    """Return what a file of torch.save holds: tensors on the CPU, dicts, lists and numbers.

    Raises:
        WeightsError: the file holds Python objects that are not admitted.
        Exception: whatever torch raises where the file is damaged.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_ADMITTED)):
            warnings.simplefilter("ignore")  # of pickle protocols and old storages: what cannot be read is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if _is_program(path):
            raise WeightsError(f"{path}: cannot be read as weights: it is a TorchScript program.", _SAVE) from error
        objects = sorted({*_objects(path), *re.findall(r"GLOBAL (\S+)", str(error))})
        if objects:
            raise WeightsError(
                f"{path}: cannot be read as weights: it holds Python objects beside tensors: {first_and_more(objects, _SHOWN)}.",
                "nothing of the file was run",
                _SAVE,
            ) from error
        told = str(error).partition("WeightsUnpickler error:")[2].strip()  # what follows is advice to load it with its code
        if told.startswith("Unsupported operand"):  # its first byte is none that a pickle has there
            raise WeightsError(f"{path}: is no file of torch.save.", "a .safetensors, .npz or torch file of tensors") from error
        if told:
            raise WeightsError(
                f"{path}: cannot be read as weights: {told.splitlines()[0].rstrip('.')}.", "nothing of the file was run", _SAVE
            ) from error
        raise


def _is_program(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _objects(path: Path) -> Iterator[str]:
    """Yield the full name of each Python object that a torch file names and that is not admitted; nothing is made of them."""
    admitted = {name for _, name in _ADMITTED}
    for data in _pickles(path):
        stream = BytesIO(data)
        while stream.tell() < len(data):
            try:
                yield from (name for name in _names(stream) if name not in admitted and not _TENSORS.fullmatch(name))
            except (ValueError, IndexError, KeyError, UnicodeDecodeError, MemoryError):  # it is no pickle from here on
                break


def _pickles(path: Path) -> Iterator[bytes]:
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                yield file.read(_PICKLE)
            return
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    with archive.open(name) as file:
                        yield file.read(_PICKLE)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):  # damaged, or packed in a way that none reads
        return


def _names(stream: BytesIO) -> Iterator[str]:
    """Yield the objects that one pickle names. From protocol 4 on a name is two texts, which may have been said before."""
    said: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST") and isinstance(argument, str):
            yield argument.replace(" ", ".", 1).replace("__builtin__.", "builtins.", 1)  # as Python 2 called it
        elif opcode.name == "STACK_GLOBAL" and len(said) > 1:
            yield ".".join(said[-2:])
        elif "UNICODE" in opcode.name and isinstance(argument, str):
            said.append(argument)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = said[-1] if said else ""
        elif opcode.name.startswith(("BINGET", "LONG_BINGET")) and isinstance(argument, int) and memo.get(argument):
            said.append(memo[argument])
