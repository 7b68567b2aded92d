"""dlib's face ResNet against face-api's own embedding, and against a plain computation from the tensors of the file."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlkit.engine.images.normalisation import normalise
from tlkit.errors import WeightsError, WeightsMissing
from tlkit.sources import weight_files
from tlkit.sources.places import Places
from tlkit_dlib_face import BLOCKS, dlib_face_resnet29
from tlkit_dlib_face.build import dlib_face_resnet29 as build
from tlkit_dlib_face.package import read

MANIFEST = "package/model/face_recognition_model-weights_manifest.json"
VALUES = "package/model/face_recognition_model.bin"
Named = dict[str, np.ndarray]


def layers() -> list[tuple[str, list[int]]]:
    """Return face-api's name and shape (h, w, before, channels) of each convolution."""
    found, before = [("conv32_down", [7, 7, 3, 32])], 32
    for blocks in BLOCKS.values():
        for block in blocks:
            channels = int(block[4:].split("_")[0])
            found += [(f"{block}/conv1", [3, 3, before, channels]), (f"{block}/conv2", [3, 3, channels, channels])]
            before = channels
    return found


def package(path: Path, *, cut: int = 0) -> Named:
    """Write an archive of the package's form with random values, some as bytes and some as float32; return them by face-api's names."""
    random, manifest, values, named = np.random.default_rng(0), [], [], {}
    shapes = {"fc": [256, 128]}
    for name, shape in layers():
        shapes[f"{name}/conv/filters"] = shape
        shapes |= {f"{name}/{part}": [shape[-1]] for part in ("conv/bias", "scale/weights", "scale/biases")}
    for number, (name, shape) in enumerate(shapes.items()):
        spread = 2 / math.sqrt(math.prod(shape[:-1])) if len(shape) > 1 else 1.0
        entry = {"name": name, "shape": shape, "dtype": "float32"}
        if number % 3:
            stored = random.integers(0, 256, shape, dtype=np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": spread / 255, "min": -spread / 2}
            named[name] = stored * (spread / 255) - spread / 2
        else:
            stored = (random.random(shape, dtype=np.float32) - 0.5) * np.float32(spread)
            named[name] = stored
        manifest.append(entry)
        values.append(stored.tobytes())
    files = {MANIFEST: json.dumps([{"weights": manifest, "paths": []}]).encode(), VALUES: b"".join(values)}
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content) - (cut if name == VALUES else 0)
            archive.addfile(member, io.BytesIO(content))
    return named


def embedding(tensors: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """Return the output (N, 128) of our stages and the file's last layer for pictures (N, H, W, 3) uint8."""
    stages = build()
    for stage in stages.values():
        stage.load_state_dict({name: tensors[name] for name in stage.state_dict()})
    network = nn.Sequential(*stages.values()).eval()
    with torch.inference_mode():
        return network(normalise(pictures, dlib_face_resnet29.input)).mean((2, 3)) @ tensors["fc.weight"].T


def plain_embedding(named: Named, pictures: Tensor) -> Tensor:
    """Return the same from face-api's tensors, step by step as FaceRecognitionNet.ts has it."""
    mean = torch.tensor([122.782, 117.001, 104.298], dtype=torch.float64)
    x = ((pictures.double() - mean) / 255).permute(0, 3, 1, 2)

    def layer(x: Tensor, name: str, **how: int) -> Tensor:
        filters = torch.from_numpy(named[f"{name}/conv/filters"]).double().permute(3, 2, 0, 1)
        bias, factor, summand = (
            torch.from_numpy(named[f"{name}/{part}"]).double()[:, None, None]
            for part in ("conv/bias", "scale/weights", "scale/biases")
        )
        return (F.conv2d(x, filters, **how) + bias) * factor + summand

    x = F.max_pool2d(layer(x, "conv32_down", stride=2).relu(), 3, 2)
    for name in (block for blocks in BLOCKS.values() for block in blocks):
        if "down" in name:
            y, pooled = layer(layer(x, f"{name}/conv1", stride=2).relu(), f"{name}/conv2", padding=1), F.avg_pool2d(x, 2)
            if y.shape[2:] != pooled.shape[2:]:
                y = torch.cat([y, torch.zeros_like(y[:, :, :1])], 2)
                y = torch.cat([y, torch.zeros_like(y[..., :1])], 3)
            if y.shape != pooled.shape:
                pooled = torch.cat([pooled, torch.zeros_like(pooled)], 1)
            x = (y + pooled).relu()
        else:
            x = (layer(layer(x, f"{name}/conv1", padding=1).relu(), f"{name}/conv2", padding=1) + x).relu()
    return x.mean((2, 3)) @ torch.from_numpy(named["fc"]).double()


@pytest.fixture
def picture() -> Tensor:
    return torch.randint(0, 256, (1, 150, 150, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_embedding_equals_a_plain_computation_from_the_files_tensors(tmp_path: Path, picture: Tensor) -> None:
    named = package(tmp_path / "a.tgz")
    expected = plain_embedding(named, picture)
    found = embedding(read(tmp_path / "a.tgz"), picture)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.slow
def test_the_embedding_equals_face_apis_own(tmp_path: Path, picture: Tensor) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which runs face-api, is not installed")
    try:
        file = weight_files.find_weights("faces", "dlib_face_resnet29", dlib_face_resnet29, Places(), fetch=True, run=Path)
    except WeightsMissing as error:
        pytest.skip(f"the package face-api cannot be had here: {error.problem}")
    assert file is not None
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "picture").write_bytes(picture.numpy().tobytes())
    command = [node, str(Path(__file__).with_name("embedding.js")), str(tmp_path / "package"), str(tmp_path / "picture")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    torch.testing.assert_close(embedding(read(file), picture)[0], torch.tensor(json.loads(done.stdout)), rtol=0, atol=1e-5)


def test_it_has_29_convolutions() -> None:
    assert sum(isinstance(module, nn.Conv2d) for stage in build().values() for module in stage.modules()) == 29


def test_a_package_that_lacks_values_is_refused(tmp_path: Path) -> None:
    package(tmp_path / "a.tgz", cut=100)
    with pytest.raises(
        WeightsError, match=r"a\.tgz: cannot be read as the package @vladmandic/face-api: .* ends within conv256_down_out"
    ):
        read(tmp_path / "a.tgz")


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"\x1f\x8b\x08\x00broken"], ids=["empty", "page", "gzip"])
def test_a_file_that_is_no_package_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as the package"):
        read(tmp_path / "a.tgz")


def test_importing_the_plugin_imports_no_torch() -> None:
    code = "import sys, tlkit_dlib_face; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
