"""Files that cannot be read are found by their beginning, and said before anything is trained."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from PIL import Image

from tlkit.engine.images import decode
from tlkit.errors import DataError, ImageError
from tlkit.sources import image_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six pictures, one of them empty and one of them text, and two files beside the classes."""
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(6):
            noise = np.random.default_rng(index).integers(0, 256, (12, 14, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "photos/cats/2.png").write_bytes(b"")
    (tmp_path / "photos/dogs/4.png").write_text("<html>404</html>")
    Image.new("RGB", (9, 9)).save(tmp_path / "photos/stray.png")
    (tmp_path / "photos/notes.txt").write_text("not an image")
    return tmp_path / "photos"


def unreadable(photos: Path, **options: object) -> str:
    return image_files.unreadable(sorted(photos.glob("*/*.png")), **{"max_pixels": 10_000, "on_corrupt": "error", **options})


def test_files_that_cannot_be_read_are_counted_and_named(photos: Path) -> None:
    said = unreadable(photos)
    assert said.startswith(f"2 of 12 files cannot be read: {photos}/cats/2.png (empty), {photos}/dogs/4.png (not an image)")
    assert said.endswith('apply stops at them; data.on_corrupt = "skip" leaves them out')
    assert unreadable(photos, on_corrupt="skip").endswith('apply leaves them out, as data.on_corrupt = "skip" says')


def test_where_all_can_be_read_nothing_is_said(photos: Path) -> None:
    for path in ("cats/2.png", "dogs/4.png"):
        Image.new("RGB", (3, 3)).save(photos / path)
    assert unreadable(photos) == ""


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_a_picture_that_is_cut_off_is_told_and_bytes_behind_one_are_not(name: str, tmp_path: Path) -> None:
    """As decoding says it: another file may follow a picture, as a film does in those of some telephones."""
    path, told = tmp_path / name, partial(image_files.unreadable, max_pixels=10_000, on_corrupt="error")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    assert len(whole) > 5000
    for length in (len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:length])
        assert told([path]).startswith(f"1 of 1 files cannot be read: {path} (image file is truncated")
        with pytest.raises(ImageError):
            decode.decode(path, max_pixels=10_000)
    path.write_bytes(whole + bytes(5000))
    assert not told([path] * 30)
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(whole[:-200])
    assert not told([*[path] * 16, cut]), "no more than 16 files are decoded"


def test_too_many_pixels_are_a_reason(photos: Path) -> None:
    assert "cats/0.png (has 14 x 12 pixels, more than the limit of 167, data.max_pixels)" in unreadable(photos, max_pixels=167)


def test_of_very_many_files_some_are_looked_at(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MOST", 5)
    (photos / "cats/0.png").write_bytes(b"")
    assert unreadable(photos).startswith("1 of 4 files looked at cannot be read")


def test_a_file_larger_than_pillows_limit_brings_no_warning_of_pillows(tmp_path: Path) -> None:
    """No file of so many pixels is needed: only its header is read."""
    header = f"P6 {30_000} {6_600} 255\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_files.unreadable([tmp_path / "a.ppm"], max_pixels=200_000_000, on_corrupt="error") == ""


def test_libtiff_writes_nothing_of_a_damaged_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)

    def of_pillow() -> str:
        with pytest.raises(OSError), Image.open(path) as image:  # noqa: PT011  # Pillow's words are not ours
            image.load()
        return capfd.readouterr().err

    assert of_pillow() != "", "libtiff has something to say"
    with pytest.raises(ImageError, match=r"a\.tif: cannot be decoded"):
        decode.decode(path)
    assert capfd.readouterr().err == ""
    assert of_pillow() != "", "what the program had set is set again"


def test_init_plan_and_apply_say_what_is_not_used_and_what_cannot_be_read(photos: Path, run: Cli) -> None:
    stray, cannot = f"1 image lies beside the class folders and is not used: {photos}/stray.png", "2 of 12 files cannot be read"
    recipe = photos.parent / "r.toml"
    code, _, err = run("init", photos, "--output", recipe)
    assert code == 0
    assert stray in err
    assert cannot in err
    assert stray in recipe.read_text().replace("\n# ", " ")
    toy = ["backbone.name=toy", "backbone.weights=none", "data.image_size=16", "schedule.epochs=1"]
    settings = [part for each in toy for part in ("--set", each)]
    code, out, _ = run("plan", recipe, "--arm", "finetune", *settings)
    assert code == 0
    assert stray in " ".join(out.split())
    assert cannot in " ".join(out.split())
    code, out, err = run(
        "apply", recipe, *settings, "--set", "data.on_corrupt=skip", "--set", "seeds=[0, 1]", "--arm", "finetune"
    )
    assert code == 0
    assert " ".join(err.split()).count(stray) == 1
    assert " ".join(err.split()).count("cannot be decoded and are left out") == 1


def test_a_folder_that_is_predicted_tells_what_it_leaves_out(photos: Path) -> None:
    said: list[str] = []
    (photos / "film.mp4").write_bytes(bytes(20))
    (photos / "drawing.svg").write_text("<svg/>")
    files = image_files.below(photos, where="predict", notify=said.append)
    assert len(files) == 13
    assert said == [f"{photos}: left out, as files that cannot be read as images: 1 .mp4, 1 .svg"]
    for file in files:
        file.unlink()
    with pytest.raises(DataError, match="holds no image files") as caught:
        image_files.below(photos, where="predict")
    assert "1 .mp4, 1 .svg" in caught.value.hints[0]
