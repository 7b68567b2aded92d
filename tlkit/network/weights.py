"""Load and save weights: tensors only, checked by name and shape.

The rule: nothing is dropped or left random in silence; a file that does not fit is refused with every difference at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tlkit import files, plugin
from tlkit.errors import PluginError, RunFolderError, WeightsError, first_and_more, nearest
from tlkit.network import input_layer, tensor_files, tensor_writer
from tlkit.network.network import Network
from tlkit.network.tensor_files import NamedTensors
from tlkit.plugin import Backbone
from tlkit.recipe.maps import HEAD
from tlkit.sources.weight_files import USUAL, Reading

_SHOWN = 4  # names of one kind of difference that a message lists
# Prefixes of every name that come from wrapping: DataParallel's, torch.compile's, and the names that people give to the attribute
# of their own module that holds the network.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")
_LOCAL = "num_batches_tracked"  # BatchNorm's counter: absent from files older than it, and used by nothing here


def load_(network: Network, path: Path, *, backbone: Backbone, name: str, reading: Reading = USUAL) -> tuple[str, ...]:
    """Load a backbone's weights; the file's classifiers are dropped, and its first convolution is carried over to other channels.

    Args:
        network: Its stages are changed in place; where the file does not fit, nothing is.
        path: The file.
        backbone: The plugin.
        name: Name of the backbone, for error messages.
        reading: How the file is read.

    Returns:
        What was decided about the file, a sentence each.

    Raises:
        WeightsError: with every missing, surplus and misshapen tensor.
    """
    found = file_tensors(path, reading)
    mine, _ = _split(network.tensors(), backbone)
    offered = reading.rename or reading.read
    theirs, notes = (found.tensors, ()) if offered else _named(found.tensors, mine, backbone)
    theirs, _ = _split(import_names(theirs, backbone), backbone)
    theirs = input_layer.carry_over(theirs, mine, next(iter(network.stages.values())))
    random = _absent(theirs, backbone)
    mine = {key: tensor for key, tensor in mine.items() if not key.startswith(tuple(f"{aux_head}." for aux_head in random))}
    _refuse_misfits(path, mine, theirs, name)
    _copy_(mine, theirs)
    begin = (f"it has no tensors of {', '.join(random)}: auxiliary classifiers, which begin at random",) if random else ()
    return (*found.notes, *notes, *begin)


def file_tensors(path: Path, reading: Reading) -> NamedTensors:
    """Return a file's tensors; where a plugin offers the file, under the library's names.

    Raises:
        WeightsError: the file cannot be read.
    """
    found = NamedTensors(_called(reading.read, path)) if reading.read else tensor_files.read(path, reading.part)
    return replace(found, tensors=_called(reading.rename, found.tensors)) if reading.rename else found


def load_run_(network: Network, path: Path, *, backbone: Backbone, name: str, classes: tuple[str, ...]) -> bool:
    """Load an earlier run's backbone, and its head if it has the same tensors and classes.

    Args:
        network: Changed in place.
        path: The run's weights file.
        backbone: The plugin.
        name: Name of the backbone, for error messages.
        classes: Class names of the data set that is trained on now.

    Returns:
        Whether the head was loaded too.

    Raises:
        WeightsError: the run was of another backbone.
    """
    mine, my_head = _split(network.tensors(), backbone)
    theirs, head = _split(import_names(tensor_files.read(path).tensors, backbone), backbone)
    theirs = input_layer.carry_over(theirs, mine, next(iter(network.stages.values())))
    _refuse_misfits(path, mine, theirs, name)
    _copy_(mine, theirs)
    same = {key: tensor.shape for key, tensor in my_head.items()} == {key: tensor.shape for key, tensor in head.items()}
    if not same or tuple(class_names(path)) != classes:
        return False
    _refuse_misfits(path, my_head, head, name)
    _copy_(my_head, head)
    return True


def load_whole_(network: Network, path: Path, *, backbone: Backbone) -> None:
    """Load backbone and head of a run's own weights file.

    Raises:
        RunFolderError: they do not fit the network that the run's recipe builds.
    """
    try:
        mine, theirs = network.tensors(), import_names(tensor_files.read(path).tensors, backbone)
        _refuse_misfits(path, mine, theirs, "this run's network")
    except WeightsError as error:
        raise RunFolderError(error.problem, *error.hints) from error
    _copy_(mine, theirs)


def export(network: Network, backbone: Backbone, *, linear: bool) -> dict[str, Tensor]:
    """Return all tensors under the library's names; a head like the library's classifier gets the classifier's names.

    The library's own model of as many classes loads it with strict=True. They are not copies.
    """
    return export_names(network.tensors(), backbone, linear=linear)


def export_names(tensors: Mapping[str, Tensor], backbone: Backbone, *, linear: bool) -> dict[str, Tensor]:
    """Rename a network's tensors as `export` does."""
    return {_exported(name, backbone) if linear else name: tensor for name, tensor in tensors.items()}


def import_names(tensors: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """Undo `export`: rename the classifier's tensors to the head's."""
    own = f"{backbone.classifier}."
    return {f"{HEAD}.{key.removeprefix(own)}" if key.startswith(own) else key: tensor for key, tensor in tensors.items()}


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a .safetensors file with tensors and text metadata."""
    return b"".join(tensor_writer.chunks(tensors, metadata))


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file with tensors and text metadata, atomically; no more than one tensor is copied at a time.

    Raises:
        OSError: as the system says it.
    """
    files.replace_with(path, tensor_writer.chunks(tensors, metadata))


def metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a .safetensors file.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}.") from error


def class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a run's weights file; () if there are none."""
    import json

    with contextlib.suppress(json.JSONDecodeError):
        return tuple(json.loads(metadata(path).get("classes", "[]")))
    return ()


def _exported(name: str, backbone: Backbone) -> str:
    return f"{backbone.classifier}.{name.removeprefix(f'{HEAD}.')}" if _heads(name, backbone) else name


def _heads(name: str, backbone: Backbone) -> bool:
    """Whether a tensor is of tlkit's head: a library may call a part of its own network "head" too, timm its last norm."""
    return name.startswith(f"{HEAD}.") and not backbone.owns(name)


def _split(tensors: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's tensors up to its embedding point, and those of the head and of the auxiliary classifiers' last layers."""
    last = tuple(f"{name}.{aux_head.classifier}." for name, aux_head in backbone.aux_heads.items())
    head = {key: tensor for key, tensor in tensors.items() if _heads(key, backbone) or key.startswith(last)}
    beyond = tuple(f"{name}." for name in backbone.beyond)
    return {key: tensor for key, tensor in tensors.items() if key not in head and not f"{key}.".startswith(beyond)}, head


def _named(
    tensors: dict[str, Tensor], mine: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A file's tensors by the library's names, where one way of naming fits all of them; else as they are."""
    for prefix, plain in _without_prefix(tensors, backbone):
        said = (f'its names begin with "{prefix}", which was taken off',) if prefix else ()
        if _fits(plain, mine, backbone):
            return plain, said
        if backbone.rename:
            with contextlib.suppress(WeightsError):
                renamed = _called(backbone.rename, plain)
                if _fits(renamed, mine, backbone):
                    return renamed, (
                        *said,
                        f"its names are others than {backbone.library}'s have today, and were brought to these",
                    )
    return tensors, ()


def _without_prefix(tensors: dict[str, Tensor], backbone: Backbone) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors as they are, and then without one known prefix more each time, as long as all but a classifier's have it."""
    taken, own = "", (f"{HEAD}.", f"{backbone.classifier}.")
    while True:
        yield taken, tensors
        names = [name for name in tensors if not name.startswith(own)]
        prefix = next((each for each in _PREFIXES if names and all(name.startswith(each) for name in names)), "")
        if not prefix:
            return
        taken += prefix
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _fits(tensors: Mapping[str, Tensor], mine: Mapping[str, Tensor], backbone: Backbone) -> bool:
    """Whether a file's tensors have the names of the backbone's, auxiliary classifiers aside."""
    theirs, _ = _split(import_names(tensors, backbone), backbone)
    absent = tuple(f"{aux_head}." for aux_head in _absent(theirs, backbone))
    needed = {name for name in mine if not name.endswith(_LOCAL) and not name.startswith(absent)}
    return needed <= theirs.keys() <= mine.keys()


def _absent(theirs: Mapping[str, Tensor], backbone: Backbone) -> list[str]:
    """The auxiliary classifiers of which a file has no tensor."""
    return [name for name in backbone.aux_heads if not any(key.startswith(f"{name}.") for key in theirs)]


def _called(function: str, argument: Path | dict[str, Tensor]) -> dict[str, Tensor]:
    """Let a plugin read a file of tensors, or give tensors the library's names."""
    named = plugin.call(function, argument)
    if not isinstance(named, dict) or not all(isinstance(tensor, Tensor) for tensor in named.values()):
        raise PluginError(f"{function}: gave {type(named).__name__}, not a dict of name -> tensor.")
    return named


def _copy_(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in theirs.items():
            mine[name].copy_(tensor)


def _refuse_misfits(path: Path, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], network: str) -> None:
    missing = [name for name in mine if name not in theirs and not name.endswith(_LOCAL)]
    surplus = [name for name in theirs if name not in mine]
    misshapen = [
        f"{name} is {tuple(theirs[name].shape)}, {network} wants {tuple(mine[name].shape)}"
        for name in mine
        if name in theirs and theirs[name].shape != mine[name].shape
    ]
    misshapen += [
        f"{name} is {_dtype(theirs[name])}, {network} wants {_dtype(mine[name])}"
        for name in mine
        if name in theirs and mine[name].is_floating_point() and not theirs[name].is_floating_point()
    ]
    if not (missing or surplus or misshapen):
        _refuse_endless(path, mine, theirs)
        return
    lines = [_listed("missing", missing), _listed("surplus", surplus), _listed("misshapen", misshapen)]
    near = nearest(missing[0], surplus) if missing and surplus else ""
    raise WeightsError(f"{path}: does not fit {network}.", *lines, near.replace("did you mean", "is it renamed,"))


def _refuse_endless(path: Path, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    bad = [name for name, tensor in theirs.items() if not tensor.to(mine[name].dtype).isfinite().all()]
    if bad:
        raise WeightsError(f"{path}: holds values that are not finite, or not in {_dtype(mine[bad[0]])}.", _listed("in", bad))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(kind: str, names: list[str]) -> str:
    return f"{kind}: {first_and_more(names, _SHOWN, '; ')}" if names else ""
