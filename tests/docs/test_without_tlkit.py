"""The page's code that reads a run in plain PyTorch gives tlkit's probabilities, of pictures that are easily read otherwise."""

import contextlib
import io
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import PAGES
from PIL import Image

import tlkit
from tlkit.engine.images import decode
from tlkit.plugin import CAFFE, IMAGENET
from tlkit.recipe.tables import DataTable


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    generator = np.random.default_rng(1)
    pixels = np.kron(generator.integers(0, 256, (10, 14, 3), dtype=np.uint8), np.ones((9, 9, 1), np.uint8))  # 90 x 126
    alpha = np.kron(generator.integers(0, 256, (10, 14), dtype=np.uint8), np.ones((9, 9), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    found = {name: tmp_path / name for name in ("turned.jpg", "clear.webp", "deep.png", "grey.png", "palette.gif")}
    Image.fromarray(pixels).save(found["turned.jpg"], exif=turned)
    Image.fromarray(np.dstack([pixels, alpha])).save(found["clear.webp"], lossless=True)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(found["deep.png"])
    Image.fromarray(alpha).save(found["grey.png"])
    Image.fromarray(pixels).quantize(16).save(found["palette.gif"], transparency=3)
    return found


def of_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the blocks of docs/runs.md that make a model and read it without tlkit; return their names."""
    (page,) = (page for page in PAGES if page.path.name == "runs.md")
    blocks = [block.text for block in page.blocks if block.language == "python" and '"saved"' in block.text]
    assert len(blocks) == 2
    (folder / "images" / "ants").mkdir(parents=True)
    monkeypatch.chdir(folder)
    Image.new("RGB", (80, 70), "olive").save(folder / "images" / "ants" / "0013035.jpg")
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for text in blocks:
            exec(compile(text, "runs.md", "exec"), names)
    return names


def test_a_run_is_read_in_plain_pytorch_with_the_same_probabilities(
    tmp_path: Path, pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = of_page(tmp_path / "page", monkeypatch)
    read: Callable[[Path], Image.Image] = names["rgb"]
    probabilities: Callable[[Path], torch.Tensor] = names["probabilities"]
    expected = names["model"].predict(list(pictures.values()))
    for (name, path), mine in zip(pictures.items(), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(read(path)), np.asarray(decode.decode(path)), name)
        np.testing.assert_allclose(probabilities(path).numpy(), mine, atol=1e-5, err_msg=name)
    assert np.ptp(expected[:, 0]) > 1e-3, "the pictures are told apart"


def test_resolved_says_what_is_done_to_image_files(tmp_path: Path) -> None:
    model = tlkit.Model("toy", weights="none", classes=2, image_size=16, device="cpu")
    model.save(tmp_path / "saved")
    known = tomllib.loads((tmp_path / "saved" / "resolved.toml").read_text())
    assert known["decoding"]["exif_orientation"] == "applied"
    assert known["decoding"]["transparency"] == "on white"
    assert (
        decode.described(DataTable(name="folder", options={"range": 4095}), IMAGENET)["more_than_8_bits"]
        == "from 0 to 4095, rounded to 0 .. 255"
    )
    assert {"crop", "resize", "range", "mean", "std", "channels"} <= known["input"].keys()
    assert IMAGENET.resize.upper() in Image.Resampling.__members__
    assert CAFFE.resize.upper() in Image.Resampling.__members__
