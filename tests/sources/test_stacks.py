"""Pages of TIFF files as pictures of their own."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tlkit.engine.images import decode
from tlkit.errors import ImageError
from tlkit.sources import stacks


def written(path: Path, pages: list[np.ndarray], **options: object) -> Path:
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others, **options)
    return path


def test_pages_of_a_stack_are_the_pictures_that_were_written(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    colours = [draw.integers(0, 256, (20, 30 + page, 3), dtype=np.uint8) for page in range(3)]
    found = stacks.opened(
        [tmp_path / "gone.tif", written(tmp_path / "s.tif", colours, compression="tiff_lzw"), tmp_path / "a.png"]
    )
    assert [str(each) for each in found] == [
        str(tmp_path / name) for name in ("gone.tif", "s.tif, page 1", "s.tif, page 2", "s.tif, page 3", "a.png")
    ]
    for page, pixels in zip(found[1:4], colours, strict=True):
        assert (np.asarray(decode.decode(page)) == pixels).all()
    assert stacks.opened([written(tmp_path / "one.tif", colours[:1])]) == [tmp_path / "one.tif"]


def test_a_page_of_16_bits_means_what_its_file_says(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    path = written(tmp_path / "deep.tif", [deep, deep[::-1].copy()])
    one, other = stacks.opened([path])
    assert (np.asarray(decode.decode(one))[:, :, 0] == np.asarray(decode.decode(other))[::-1, :, 0]).all()
    assert np.asarray(decode.decode(one)).max() == 255
    dark = written(tmp_path / "dark.tif", [deep // 64, deep // 64])
    with pytest.raises(ImageError, match=r"dark.tif, page 2: cannot be decoded: its 16-bit values reach only"):
        decode.decode(stacks.opened([dark])[1])


def test_a_broken_page_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = written(tmp_path / "s.tif", [noise, noise], compression="tiff_lzw")
    pages = stacks.opened([path])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"s\.tif, page 2"):
        decode.decode(pages[1])


def test_file_of_a_page_that_is_gone_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, closed = written(tmp_path / "s.tif", [np.zeros((8, 8, 3), np.uint8)] * 2), list[Image.Image]()
    real = TiffImageFile.close

    def close(image: TiffImageFile) -> None:
        closed.append(image)
        real(image)

    monkeypatch.setattr(TiffImageFile, "close", close)
    with pytest.raises(EOFError):
        stacks.Page(path, 5).opened()
    assert len(closed) == 1


def test_classes_of_each_page_are_those_of_the_picture(toy_recipe: Path, run: Cli, tmp_path: Path) -> None:
    code, _, error = run("apply", toy_recipe, "--set", "schedule.epochs=1")
    assert code == 0, error
    pages = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(2)]
    stack = written(tmp_path / "s.tif", pages)
    for number, pixels in enumerate(pages):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    _, paged, _ = run("predict", "toy", stack)
    _, apart, _ = run("predict", "toy", tmp_path / "0.png", tmp_path / "1.png")
    assert [line.split()[-2:] for line in paged.splitlines()[-2:]] == [line.split()[-2:] for line in apart.splitlines()[-2:]]
    assert "s.tif, page 2" in paged
