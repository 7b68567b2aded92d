"""The commands of the documentation that install, download or take minutes; tests/docs/test_pages.py types all others."""

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import shlex
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from pages import PAGES, README, Page

import tlkit_cifar
import tlkit_resnet
from tlkit.cli import app
from tlkit.network.building import build
from tlkit.plugin import Dataset, Head, registry
from tlkit.record import results
from tlkit_heads import LinearOptions

COMMANDS = {command for page in PAGES for command in page.commands}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Run a tlkit command in this process; return what it printed."""

    def call(command: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as exit_:
            app.main()
        out, err = capsys.readouterr()
        assert exit_.value.code == 0, err
        return out

    return call


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server on loopback and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_the_recipe_shown_is_the_recipe() -> None:
    assert README.after("recipes/quickstart.toml") == (ROOT / "recipes/quickstart.toml").read_text()


def test_the_python_that_is_needed_is_said_alike_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["requires-python"].removeprefix(">=")
    plugin = tomllib.loads((ROOT / "plugins/tlkit-efficientnet-lite/pyproject.toml").read_text())["project"]
    assert plugin["requires-python"] == project["requires-python"]
    assert f"Python {needed} or newer" in README.text
    make = (ROOT / "Makefile").read_text()
    assert f"need only Python {needed} or newer" in make
    assert f"sys.version_info < ({needed.replace('.', ', ')})" in make


@pytest.mark.slow
def test_resnet18_cifar_downloads_what_is_missing(
    run: Callable[[str], str], served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    monkeypatch.setenv("TLKIT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TLKIT_DATA", str(tmp_path / "data"))
    weights = tlkit_resnet.resnet18.weights["imagenet1k-v1"]
    served_weights = _serve_random_resnet(folder, address, weights.source.filename)
    monkeypatch.setattr(
        tlkit_resnet,
        "resnet18",
        dataclasses.replace(
            tlkit_resnet.resnet18, weights={"imagenet1k-v1": dataclasses.replace(weights, source=served_weights)}
        ),
    )
    archive = _serve_random_cifar(folder, address)
    monkeypatch.setattr(tlkit_cifar, "cifar10", dataclasses.replace(tlkit_cifar.cifar10, downloads=(archive,)))
    monkeypatch.chdir(ROOT)
    out = run(f"tlkit apply recipes/resnet18_cifar.toml --set schedule.epochs=1 --runs {tmp_path / 'runs'}")
    assert "finished" in out
    assert (tmp_path / "weights" / weights.source.filename).is_file()


def _serve_random_resnet(folder: Path, address: str, filename: str) -> object:
    """torchvision's file of ResNet-18, with random tensors."""
    options = {"backbone_options": None, "head_options": LinearOptions(), "seed": 1}
    network = build(tlkit_resnet.resnet18, registry.get(Head, "linear"), classes=1000, **options)
    tensors = {name.replace("head.", "fc."): tensor for name, tensor in network.tensors().items()}
    torch.save(tensors, folder / filename)
    checksum = "sha256:" + hashlib.sha256((folder / filename).read_bytes()).hexdigest()[:8]
    source = tlkit_resnet.resnet18.weights["imagenet1k-v1"].source
    return dataclasses.replace(source, url=f"{address}/{filename}", checksum=checksum)


def _serve_random_cifar(folder: Path, address: str) -> object:
    """The official archive's layout, with random pictures: two in each training batch, one of each class for the test."""
    generator = np.random.default_rng(0)
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name in tlkit_cifar.cifar10.files:
            number = int(name[-1]) if name.startswith("data_batch") else 0
            labels = [2 * number - 2, 2 * number - 1] if number else list(range(10))
            pixels = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
            content: dict[bytes, object] = {b"data": pixels, b"labels": labels}
            if name == "batches.meta":
                content = {b"label_names": [f"class{index}".encode() for index in range(10)]}
            data = pickle.dumps(content, protocol=2)
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    checksum = "md5:" + hashlib.md5((folder / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
    (source,) = tlkit_cifar.cifar10.downloads
    return dataclasses.replace(source, url=f"{address}/cifar-10-python.tar.gz", checksum=checksum)


def test_the_cpu_index_line_is_understood_by_pip(served: tuple[str, Path], tmp_path: Path) -> None:
    command = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
    assert command in COMMANDS
    address, folder = served
    for name in ("torch", "torchvision"):
        _serve_empty_wheel(folder / "whl" / "cpu" / name, name)
    line = command.replace("https://download.pytorch.org", address)
    arguments = [*shlex.split(line)[1:], "--target", str(tmp_path / "site"), "--no-cache-dir"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env={**clean, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "torchvision.py").is_file()


def _serve_empty_wheel(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")


@pytest.mark.slow  # pip installs both
@pytest.mark.parametrize(
    ("page", "names"),
    [("README.md", ["tiny"]), ("docs/plugins.md", ["regnet", "maxout", "noise", "status", "shift"])],
    ids=["README", "plugins"],
)
def test_the_plugins_shown_install_and_hold(
    page: str, names: list[str], run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, site = tmp_path / "tlkit-tiny", tmp_path / "site"
    folder.mkdir()
    for block in Page(ROOT / page).blocks:
        if block.marker.startswith("plugin: "):
            (folder / block.marker.removeprefix("plugin: ")).write_text(block.text)
    install = ["install", "./tlkit-tiny", "--no-deps", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install], cwd=tmp_path, check=True, capture_output=True)
    pixels = np.stack([np.full((40, 40, 3), 255 * (index % 2), np.uint8) for index in range(8)])
    np.savez(tmp_path / "noise.npz", x=pixels, y=np.arange(8) % 2)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)  # a logger may write here
    registry.scan.cache_clear()
    try:
        for name in names:
            assert "ok" in run(f"tlkit check {name}" + (f" --data {tmp_path}" if name == "noise" else ""))
    finally:
        registry.scan.cache_clear()


@pytest.mark.slow
def test_make_demo(monkeypatch: pytest.MonkeyPatch, run: Callable[[str], str]) -> None:
    """`make demo`, the best arm that it promises, and `apply` that finds it finished."""
    assert {"make demo", "tlkit apply recipes/quickstart.toml"} <= COMMANDS
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "TLKIT_"))}
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = results.read(ROOT / "runs" / "quickstart")
    accuracy = {arm: record["test"]["accuracy"]["mean"] for arm, record in summary["arms"].items()}
    assert accuracy["finetune"] > max(accuracy["head_only"], accuracy["scratch"])
    monkeypatch.chdir(ROOT)
    assert "nothing to do" in run("tlkit apply recipes/quickstart.toml")


def test_fashion_mnist_mini_needs_nothing_from_outside() -> None:
    mini = registry.get(Dataset, "fashion_mnist_mini")
    assert mini.downloads == ()
    assert mini.inside
