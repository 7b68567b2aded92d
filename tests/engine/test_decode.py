"""Image files to pictures: torchvision's resize and crop, every kind of pixel, and never a picture of something else."""

import io
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from tlkit.engine.images import decode
from tlkit.engine.images.decode import Geometry
from tlkit.errors import ImageError
from tlkit.plugin import IMAGENET, Convention

RNG = np.random.default_rng(4)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
FILTERS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def written(path: Path, image: Image.Image, **options: object) -> np.ndarray:
    """Write a file and read it as the product does."""
    image.save(path, **options)
    decoded = decode.decode(path)
    assert decoded.mode == "RGB"
    return array(decoded)


@pytest.mark.parametrize("resize", FILTERS)
@pytest.mark.parametrize("short_side", [(32, 28), (33, 28), (24, 24), (20, 17), (15, 15)])
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (41, 41), (20, 91), (15, 16), (33, 32), (7, 5)])
def test_resize_and_crop_are_torchvisions(shape: tuple[int, int], short_side: tuple[int, int], resize: str) -> None:
    short, side = short_side
    image = Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8))
    resized = functional.resize(image, [short], interpolation=FILTERS[resize])
    expected = array(functional.center_crop(resized, [side]))
    mine = decode.fit(image, Geometry(short, side, resize))
    assert mine.shape == (side, side, 3)
    np.testing.assert_array_equal(mine, expected)


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    image = Image.fromarray(NOISE[:32, :32])
    np.testing.assert_array_equal(decode.fit(image, Geometry(32, 32, "bicubic")), NOISE[:32, :32])


@pytest.mark.parametrize(
    ("size", "crop", "short"), [(224, 0.875, 256), (224, 224 / 232, 232), (32, 1.0, 32), (299, 0.875, 342), (16, 1.0, 16)]
)
def test_evaluation_resizes_to_image_size_over_crop(size: int, crop: float, short: int) -> None:
    convention = Convention(mean=IMAGENET.mean, std=IMAGENET.std, crop=crop, resize="bicubic")
    assert decode.still(size, convention) == Geometry(short, size, "bicubic")


@pytest.mark.parametrize(("size", "short"), [(224, 256), (32, 37), (28, 32)])
def test_a_random_crop_has_room_of_256_for_224(size: int, short: int) -> None:
    assert decode.roomy(size, IMAGENET) == Geometry(short, short, "bilinear")


def test_an_array_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(array(decode.picture(NOISE)), NOISE)


def test_a_broadcast_grey_array_is_grey() -> None:
    grey = np.broadcast_to(NOISE[:, :, :1], NOISE.shape)
    np.testing.assert_array_equal(array(decode.picture(grey)), np.repeat(NOISE[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp"])
def test_lossless_files_give_their_pixels(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(written(tmp_path / name, Image.fromarray(NOISE), **options), NOISE)


def test_a_jpeg_named_png_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path, format="jpeg")
    assert abs(array(decode.decode(path)).astype(int) - 90).max() <= 1


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(written(tmp_path / "a.png", Image.fromarray(NOISE[..., 0])), np.repeat(NOISE[..., :1], 3, 2))


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    bits = NOISE[..., 0] > 127
    expected = np.repeat(np.where(bits, 255, 0)[..., None], 3, 2)
    np.testing.assert_array_equal(written(tmp_path / "a.png", Image.fromarray(bits)), expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 257], [0x8000, 65535 - 257, 65535]], dtype=np.uint16)
    decoded = written(tmp_path / name, Image.fromarray(values))
    assert decoded[..., 0].tolist() == [[0, 0, 1], [128, 254, 255]]  # v / 257, rounded
    assert (decoded == decoded[..., :1]).all()


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_palette_is_looked_up(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None).convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0, 1, 2, 3])
    assert written(tmp_path / name, image).tolist() == [[[255, 0, 0], [0, 200, 0]], [[1, 2, 3], [0, 200, 0]]]


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0])
    assert written(tmp_path / "a.png", image, transparency=1).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_transparency_is_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 128]]], np.uint8)
    decoded = written(tmp_path / "a.png", Image.fromarray(pixels)).astype(int)
    assert decoded[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    expected = [round(c * 128 / 255 + 255 * 127 / 255) for c in (0, 100, 200)]
    assert abs(decoded[0, 2] - expected).max() <= 1


def test_grey_with_alpha_is_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[60, 255], [60, 0]]], np.uint8)
    assert written(tmp_path / "a.png", Image.fromarray(pixels, mode=None)).tolist() == [[[60] * 3, [255] * 3]]


def test_a_transparent_colour_is_white(tmp_path: Path) -> None:
    pixels = np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8)
    decoded = written(tmp_path / "a.png", Image.fromarray(pixels), transparency=(9, 9, 9))
    assert decoded.tolist() == [[[255, 255, 255], [8, 8, 8]]]


def test_cmyk_is_light_minus_ink(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0], inks[8:, :, 3] = 255, 128  # full cyan above, half black below
    decoded = written(tmp_path / "a.tif", Image.frombytes("CMYK", (16, 16), inks.tobytes()))
    assert decoded[0, 0].tolist() == [0, 255, 255]
    assert abs(decoded[15, 0].astype(int) - 127).max() <= 1
    jpeg = written(tmp_path / "a.jpg", Image.frombytes("CMYK", (16, 16), inks.tobytes()), quality=95)
    assert abs(jpeg[[0, 15], 0].astype(int) - [[0, 255, 255], [127, 127, 127]]).max() <= 4


# EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored picture belong.
ORIENTED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x[::-1].transpose(1, 0, 2),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = written(tmp_path / "a.png", Image.fromarray(NOISE), exif=exif)
    np.testing.assert_array_equal(decoded, ORIENTED[orientation](NOISE))


def test_a_camera_held_upright_puts_the_sky_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is the right side: turn a quarter clockwise to see it
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 200  # the sky, at the left of the sensor
    decoded = written(tmp_path / "a.jpg", Image.fromarray(stored), exif=exif, quality=95)
    assert decoded.shape == (32, 16, 3)
    assert decoded[:8].min() > 190
    assert decoded[-8:].max() < 10


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode.decode(path)
    assert caught.value.problem.startswith(f"{path}: ")
    assert "\n" not in caught.value.problem
    return caught.value.problem


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "gif", "webp", "tiff", "ppm"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_an_error_with_its_path(tmp_path: Path, kind: str, part: float) -> None:
    data = encoded(kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(data[: int(len(data) * part)])
    refused(path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "gif", "webp", "tiff", "ppm"])
def test_an_image_cut_at_any_byte_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    """Some formats end in bytes that hold no pixel; without those the picture is still the picture."""
    path, buffer = tmp_path / f"cut.{kind}", io.BytesIO()
    Image.fromarray(NOISE[:9, :7]).save(buffer, format=kind)
    data = buffer.getvalue()
    path.write_bytes(data)
    whole, accepted = array(decode.decode(path)), []
    for end in range(len(data)):
        path.write_bytes(data[:end])
        try:
            np.testing.assert_array_equal(array(decode.decode(path)), whole)
        except ImageError:
            continue
        accepted.append(end)
    assert all(end > len(data) - 24 for end in accepted)


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0" * 999]
)
def test_what_is_no_image_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    refused(path)


def test_a_file_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "a.jpg")


def test_a_folder_is_an_error_with_its_path(tmp_path: Path) -> None:
    refused(tmp_path)


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0.1, 7.5]], np.float32)).save(path)
    assert "mode F" in refused(path)


def test_a_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded("png"))
    data[len(data) // 2] ^= 0x10
    path = tmp_path / "a.png"
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("limit", [1000, 3000])  # 4200 pixels: Pillow warns above it, refuses above twice it
def test_an_image_above_pillows_limit_is_an_error_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 70)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert f"more pixels than Pillow takes, {limit:,}" in refused(path)


def test_a_large_image_is_refused_where_warnings_are_not_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 70)).save(path)
    code = (
        "import sys, pathlib; from PIL import Image; from tlkit.engine.images import decode; Image.MAX_IMAGE_PIXELS = 3000\n"
        "try: decode.decode(pathlib.Path(sys.argv[1]))\nexcept decode.ImageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert str(path) in done.stdout
    assert done.stderr == ""


def test_folder_is_not_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode.decode(tmp_path)
    assert caught.value.problem == f"{tmp_path}: is a folder."


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(20, 160), (331, 20), (11, 97), (1, 60)])
def test_a_thin_picture_is_what_a_resize_of_the_whole_would_give(shape: tuple[int, int], resize: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    whole = functional.resize(image, [16], interpolation=FILTERS[resize])
    expected = array(functional.center_crop(whole, [14])).astype(int)
    assert np.abs(decode.fit(image, Geometry(16, 14, resize)) - expected).max() <= 1


def test_a_line_of_pixels_takes_the_memory_of_the_square_that_is_kept() -> None:
    image = Image.new("RGB", (1, 30_000), "white")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (decode.fit(image, Geometry(224, 224, "bilinear")) == 255).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB; the whole would take 4.5 GB"
