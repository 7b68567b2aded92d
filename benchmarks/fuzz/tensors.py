"""Files of weights: safetensors, npz and torch's own, a solved head of skops, and the batches of CIFAR."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from random import Random

import numpy as np
import safetensors.torch
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from benchmarks.fuzz import mutations
from benchmarks.fuzz.trying import Attempt
from tlkit.engine import estimators
from tlkit.network import tensor_files
from tlkit.plugin import Head, registry
from tlkit_cifar import unpickle

_TENSORS = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "fc.bias": torch.ones(3), "seen": torch.tensor(3)}


def weights(folder: Path) -> Attempt:
    """Return what reads the named tensors of a wrong file."""
    whole = _weights()
    names, header = list(whole), json.loads(header_of(whole["a.safetensors"]))

    def attempt(number: int, draw: Random) -> None:
        name = names[number % len(names)]
        if name == "a.safetensors" and draw.random() < 0.7:
            content = with_header(
                whole[name], mutations.of_tables(header, draw, keys=[*header, "dtype", "shape", "data_offsets", "__metadata__"])
            )
        else:
            content = mutations.of_bytes(whole[name], draw)
        path = folder / name
        path.write_bytes(content)
        tensor_files.read(path, draw.choice(("", "", "", "state_dict", "a.b")))

    return attempt


def heads(folder: Path) -> Attempt:
    """Return what loads a wrong file of a solved head."""
    draw = np.random.default_rng(0)
    embedded, labels = draw.normal(size=(30, 4)), np.arange(30) % 3
    made = (LogisticRegression(), KNeighborsClassifier(3, algorithm="kd_tree"), DecisionTreeClassifier(max_depth=3))
    whole = [skops.io.dumps(each.fit(embedded, labels)) for each in made]
    head, path = registry.get(Head, "logistic"), folder / "head.skops"

    def attempt(number: int, draw: Random) -> None:
        content = whole[number % len(whole)]
        path.write_bytes(_with_schema(content, draw) if draw.random() < 0.6 else mutations.of_bytes(content, draw))
        estimators.load(path, head, 3)

    return attempt


def cifar(folder: Path) -> Attempt:
    """Return what reads a wrong batch of CIFAR as data only."""
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"filenames": [b"a.png", b"b.png"]}
    whole = [pickle.dumps(batch, protocol) for protocol in (0, 2, 4, 5)]
    path = folder / "data_batch_1"

    def attempt(number: int, draw: Random) -> None:
        path.write_bytes(mutations.of_bytes(whole[number % len(whole)], draw))
        unpickle.unpickle(path)

    return attempt


def _weights() -> dict[str, bytes]:
    arrays = {name: tensor.numpy() for name, tensor in _TENSORS.items()}
    found = {"a.safetensors": safetensors.torch.save(_TENSORS)}
    for name, save in (("a.npz", np.savez), ("packed.npz", np.savez_compressed)):
        written = io.BytesIO()
        save(written, **arrays)
        found[name] = written.getvalue()
    checkpoint = {"state_dict": _TENSORS, "epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}
    for name, contents, zipped in (
        ("a.pth", _TENSORS, True),
        ("old.pth", _TENSORS, False),
        ("checkpoint.pt", checkpoint, True),
    ):
        written = io.BytesIO()
        torch.save(contents, written, _use_new_zipfile_serialization=zipped)
        found[name] = written.getvalue()
    return found


def header_of(content: bytes) -> bytes:
    return content[8 : 8 + struct.unpack("<Q", content[:8])[0]]


def with_header(content: bytes, header: dict[str, object]) -> bytes:
    written = json.dumps(header, default=str, separators=(",", ":")).encode()
    return struct.pack("<Q", len(written)) + written + content[8 + len(header_of(content)) :]


def _with_schema(content: bytes, draw: Random) -> bytes:
    """Return a file of skops with a changed schema: the same archive, other tables."""
    import zipfile

    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                keys = ("__class__", "__module__", "__loader__", "__id__", "content", "file", "type")
                values = (
                    *mutations.ODD,
                    "posix",
                    "os",
                    "system",
                    "ObjectNode",
                    "ReduceNode",
                    "MethodNode",
                    "FunctionNode",
                    "JsonNode",
                )
                data = json.dumps(mutations.of_tables(json.loads(data), draw, keys=keys, values=values), default=str).encode()
            elif draw.random() < 0.1:
                data = mutations.of_bytes(data, draw)
            new.writestr(name, data)
    return written.getvalue()
