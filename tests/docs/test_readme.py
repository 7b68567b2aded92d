"""Every command and every block of the README does what it says there."""

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tlkit_cifar
import tlkit_resnet
from tlkit.cli import app
from tlkit.network.network import build
from tlkit.plugin import Backbone, Dataset, Head, registry
from tlkit.record import run_folder
from tlkit.record.formats import COMPUTE_FORMATS
from tlkit_heads import LinearOptions

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]


def after(marker: str) -> str:
    """The fenced block that follows a comment."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```", README, re.S)
    assert found, marker
    return found[1]


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


def test_every_command_is_run_by_a_test_here() -> None:
    source = Path(__file__).read_text()
    assert len(COMMANDS) > 10
    assert [command for command in COMMANDS if source.count(command) < 1] == []


def test_the_recipe_shown_is_the_recipe() -> None:
    assert after("recipes/quickstart.toml") == (ROOT / "recipes/quickstart.toml").read_text()


@pytest.mark.parametrize(
    "command",
    ["tlkit validate recipes/quickstart.toml", "tlkit list", "tlkit show efficientnet_lite0", "tlkit check efficientnet_lite0"],
)
def test_a_command_answers(command: str, run: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command in COMMANDS
    monkeypatch.chdir(ROOT)
    assert "quickstart" in run(command) or "efficientnet_lite0" in run(command) or "ok" in run(command)


def test_the_plan_shown_is_the_plan(run: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = run("tlkit plan recipes/quickstart.toml --arm head_only")
    shown = after("tlkit plan recipes/quickstart.toml --arm head_only")
    words = [[line.split() for line in text.splitlines() if line.strip()] for text in (printed, shown)]
    assert words[0] == words[1]


def test_a_folder_of_images_from_init_to_predict(
    run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, tint in (("ants", 0), ("bees", 120)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(6):
            pixels = generator.integers(0, 100, (48, 40, 3), dtype=np.uint8) + np.uint8(tint)
            Image.fromarray(pixels).save(tmp_path / "images" / name / ("0013035.jpg" if index == 0 else f"{index}.jpg"))
    run("tlkit init images")
    assert "2 classes" in run("tlkit plan images.toml")
    monkeypatch.setattr(
        "tlkit.compiler.timing.COMPUTE_FORMATS", COMPUTE_FORMATS[:1]
    )  # each takes seconds at 224 px; tests/test_measure.py has all
    assert "fixed prefix" in run("tlkit plan images.toml --measure")
    assert "pictures" in run("tlkit cache")
    assert "head_only" in run("tlkit apply images.toml")
    assert "%" in run("tlkit predict runs/images images/ants/0013035.jpg")


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
    out = run("tlkit apply recipes/resnet18_cifar.toml" + f" --runs {tmp_path / 'runs'}")
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


@pytest.mark.slow
def test_the_wheels_hold_everything(tmp_path: Path) -> None:
    command = "pip install . ./plugins/tlkit-efficientnet-lite"
    assert command in COMMANDS
    arguments = [*shlex.split(command)[1:], "--no-deps", "--target", str(tmp_path / "site")]
    subprocess.run([sys.executable, "-m", "pip", *arguments], cwd=ROOT, check=True, capture_output=True)
    script = "import sys; from tlkit.plugin.registry import scan; print([(e.name, e.version) for e in scan().entries])"
    site = str(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {site!r}); {script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "efficientnet_lite0" in done.stdout
    for file in ("tlkit_fashion_mnist/fashion_mnist_mini.npz", "tlkit_fashion_mnist/LICENSE.fashion_mnist", "tlkit/py.typed"):
        assert (tmp_path / "site" / file).is_file()


def test_the_plugins_shown_install_and_hold(run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pip install ./tlkit-tiny" in COMMANDS
    folder, site = tmp_path / "tlkit-tiny", tmp_path / "site"
    folder.mkdir()
    for name in ("pyproject.toml", "tlkit_tiny.py", "tlkit_tiny_code.py"):
        (folder / name).write_text(after(f"plugin: {name}"))
    install = ["install", "./tlkit-tiny", "--no-deps", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install], cwd=tmp_path, check=True, capture_output=True)
    pixels = np.stack([np.full((40, 40, 3), 255 * (index % 2), np.uint8) for index in range(8)])
    np.savez(tmp_path / "noise.npz", x=pixels, y=np.arange(8) % 2)
    monkeypatch.syspath_prepend(site)
    registry.scan.cache_clear()
    try:
        assert registry.entry(Backbone, "tiny").version == "1.0"
        assert "same output cut after any stage" in run("tlkit check tiny")
        assert "8 images" in run(f"tlkit check tiny_noise --data {tmp_path}")
    finally:
        registry.scan.cache_clear()


@pytest.mark.slow
def test_make_demo_then_python(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`make demo`, the ranking it promises, `apply` that finds it finished, and the Python of the README."""
    assert {"make demo", "tlkit apply recipes/quickstart.toml"} <= set(COMMANDS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "TLKIT_"))}
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = run_folder.summary(ROOT / "runs" / "quickstart")
    assert summary is not None
    accuracy = {arm: record["test"]["accuracy"]["mean"] for arm, record in summary["arms"].items()}
    assert accuracy["finetune"] > accuracy["head_only"] > accuracy["scratch"]
    monkeypatch.chdir(ROOT)
    assert "nothing to do" in run("tlkit apply recipes/quickstart.toml")
    (block,) = re.findall(r"```python\n(import tlkit\n.*?)```", README, re.S)
    exec(compile(block, "README.md", "exec"), {})
    assert "efficientnet_lite0" in capsys.readouterr().out


def test_fashion_mnist_mini_needs_nothing_from_outside() -> None:
    mini = registry.get(Dataset, "fashion_mnist_mini")
    assert mini.downloads == ()
    assert mini.inside
