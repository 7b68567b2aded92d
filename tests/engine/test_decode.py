"""Image files to pictures: every kind of pixel, damaged files, and never a picture of something else."""

import io
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tlkit.engine.images import decode
from tlkit.engine.images.geometry import Geometry, evaluation_geometry, fitted
from tlkit.errors import ImageError
from tlkit.plugin import IMAGENET
from tlkit.recipe.tables import DataTable
from tlkit.sources.image_files import unreadable

RNG = np.random.default_rng(4)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
NATIVE = Geometry((40, 60), (40, 60), "bilinear")  # of NOISE


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def written(path: Path, image: Image.Image, **options: object) -> np.ndarray:
    """Write a file and read it as the product does."""
    image.save(path, **options)
    decoded = decode.decode(path)
    assert decoded.mode == "RGB"
    return array(decoded)


def test_an_array_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(array(decode.picture(NOISE, NATIVE)), NOISE)


def test_a_broadcast_grey_array_is_grey() -> None:
    grey = np.broadcast_to(NOISE[:, :, :1], NOISE.shape)
    np.testing.assert_array_equal(array(decode.picture(grey, NATIVE)), np.repeat(NOISE[:, :, :1], 3, axis=2))


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


def test_a_tiff_file_of_bands_is_told_with_what_reads_it(tmp_path: Path) -> None:
    tifffile.imwrite(path := tmp_path / "a.tif", np.zeros((8, 8, 5), np.uint16), planarconfig="contig")
    with pytest.raises(ImageError, match=r"is a TIFF file that is damaged, or of bands .* data\.channels = k"):
        decode.decode(path, max_pixels=100)


def test_an_image_of_more_than_max_pixels_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 70)).save(path)
    assert decode.decode(path, max_pixels=4200).size == (60, 70)
    with pytest.raises(ImageError, match=r"60 x 70 pixels, more than the limit of 4,199, data\.max_pixels\.") as caught:
        decode.decode(path, max_pixels=4199)
    assert "data.max_pixels = 4200" in str(caught.value)
    with pytest.raises(ImageError, match=r"data\.max_pixels"):
        decode.picture(path, replace(NATIVE, max_pixels=4199))


def test_a_photograph_of_108_million_pixels_is_read_at_a_reduced_size(tmp_path: Path) -> None:
    """Reduced by a whole factor that leaves three times what is needed, it is within 2 grey levels of the whole one resized."""
    height, width = 9000, 12000
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height // 500, width // 500, 3), dtype=np.uint8))
    path = tmp_path / "a.jpg"
    whole = small.resize((width, height), Image.Resampling.BILINEAR)
    whole.save(path, quality=95)
    geometry = evaluation_geometry((224, 224), IMAGENET, DataTable(name="any"))
    assert decode.decode(path, needed=geometry.resized).size == (width // 8, height // 8)
    difference = np.abs(decode.picture(path, geometry).astype(int) - fitted(whole, geometry))
    assert difference.max() <= 6
    assert difference.mean() < 1


def test_an_image_within_pillows_limit_is_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE.repeat(20, 0).repeat(20, 1)).save(path)
    assert decode.decode(path, needed=(10, 10)).size == (1200, 800)
    monkeypatch.setattr(decode, "_LARGE", 900_000)
    assert decode.decode(path, needed=(10, 10)).size == (150, 100)
    assert decode.decode(path, needed=(100, 100)).size == (600, 400)


def test_folder_is_not_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode.decode(tmp_path)
    assert caught.value.problem == f"{tmp_path}: is a folder."


def sixteen(path: Path, top: int, **options: object) -> Path:
    """A grey ramp from 0 to `top` in a file of 16 bits."""
    Image.fromarray(np.linspace(0, top, 64).round().astype(np.uint16).reshape(8, 8)).save(path, **options)
    return path


def with_significant_bits(path: Path, bits: int) -> Path:
    data, body = path.read_bytes(), b"sBIT" + bytes([bits])
    chunk = (1).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    path.write_bytes(data[:33] + chunk + data[33:])  # behind the header, IHDR
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("top", [4095, 1023, 16383])
def test_fewer_bits_in_a_file_of_sixteen_are_refused_not_black(tmp_path: Path, name: str, top: int) -> None:
    """Divided by 257, 12 bits have 17 of 256 values."""
    path = sixteen(tmp_path / name, top)
    with pytest.raises(ImageError, match=f"its 16-bit values reach only {top:,}, so it may be of fewer bits") as caught:
        decode.decode(path)
    assert "data.options.range" in caught.value.hints[0]
    decoded = np.asarray(decode.decode(path, white=(0, top)))
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[-1, -1].tolist() == [255, 255, 255]
    assert len(np.unique(decoded)) == 64
    assert np.asarray(decode.decode(path, white=(0, 65535))).max() == round(top / 257)


def test_bits_that_a_file_tells_are_its_range(tmp_path: Path) -> None:
    decoded = np.asarray(decode.decode(with_significant_bits(sixteen(tmp_path / "a.png", 4095), 12)))
    assert decoded[..., 0].reshape(-1).tolist() == np.linspace(0, 255, 64).round().tolist()
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 4095\n" + np.linspace(0, 4095, 64).round().astype(">u2").tobytes())
    pgm = np.asarray(decode.decode(tmp_path / "a.pgm"))
    assert np.abs(pgm[..., 0].reshape(-1) - np.linspace(0, 255, 64)).max() <= 1


def test_twelve_bits_of_a_tiff_are_its_range(tmp_path: Path) -> None:
    """Two values of 12 bits take three bytes: 0, 4095, 2048, 1024."""
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x04, 0x00])
    tags = [
        (256, 4, 4),
        (257, 4, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 6),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 14) + packed + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert np.asarray(decode.decode(path))[0, :, 0].tolist() == [0, 255, 128, 64]


def test_sixteen_bits_of_which_0_is_white_are_inverted(tmp_path: Path) -> None:
    path = sixteen(tmp_path / "a.tif", 65535, tiffinfo={262: 0})
    decoded = np.asarray(decode.decode(path))
    assert decoded[0, 0, 0] == 255
    assert decoded[-1, -1, 0] == 0


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_a_range_lets_integers_and_floats_be_read(tmp_path: Path, dtype: type, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[-100, 0, 200, 300, 900]], dtype)).save(path)
    with pytest.raises(ImageError, match=f"mode {mode}, whose range is not known") as caught:
        decode.decode(path)
    assert "data.options.range" in caught.value.hints[0]
    assert np.asarray(decode.decode(path, white=(-100, 300)))[0, :, 0].tolist() == [0, 64, 191, 255, 255]


def test_a_range_is_no_matter_of_files_of_8_bits(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(decode.decode(tmp_path / "a.png", white=(0, 4095))), NOISE)


def test_dark_colours_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 bits: 12 would have 16 of 256 values."""
    rows = np.zeros((2, 2, 3), ">u2")
    rows[..., 0] = 4095
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    parts = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ImageError, match="its 16-bit colours are all below 16,384"):
        decode.decode(path)
    assert np.asarray(decode.decode(path, white=(0, 65535)))[0, 0].tolist() == [15, 0, 0]
    with pytest.raises(ImageError, match="a range of 4095 cannot be applied"):
        decode.decode(path, white=(0, 4095))


def with_exif(path: Path, raw: bytes) -> np.ndarray:
    Image.fromarray(NOISE).save(path, quality=95, exif=raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(decode.decode(path))


def test_broken_exif_does_not_refuse_sound_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    raw = exif.tobytes()
    turned, plain = with_exif(tmp_path / "a.jpg", raw), with_exif(tmp_path / "b.jpg", b"")
    assert turned.shape == (60, 40, 3)
    # XResolution, a fraction, called PlanarConfiguration: ImageOps.exif_transpose cannot write it back
    misnamed = raw.replace(struct.pack(">HH", 0x011A, 5), struct.pack(">HH", 0x011C, 5))
    assert misnamed != raw
    np.testing.assert_array_equal(with_exif(tmp_path / "c.jpg", misnamed), turned)
    for broken in (raw[:20], b"Exif\0\0" + bytes(range(40))):
        np.testing.assert_array_equal(with_exif(tmp_path / "d.jpg", broken), plain)


def pages(path: Path, *images: Image.Image, tags: dict[int, int] | None = None) -> Path:
    """Write a TIFF file; the tags are those of every page but the first."""
    rest = []
    for image in images[1:]:
        image.encoderinfo = {"tiffinfo": tags or {}}
        rest.append(image)
    images[0].save(path, save_all=True, append_images=rest)
    with Image.open(path) as written:
        assert written.n_frames == len(images)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("second", [(60, 40), (60, 21), (80, 90)])
def test_a_tiff_file_of_several_pictures_is_refused(tmp_path: Path, mode: str, second: tuple[int, int]) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    path = pages(tmp_path / "pages.tif", image, image.resize(second))
    with pytest.raises(ImageError, match="is a TIFF file with 2 pictures, one on each page") as error:
        decode.decode(path)
    assert ("data.channels = 2" in str(error.value)) == (mode == "L")
    with pytest.raises(ImageError, match="2 pictures"):
        decode.picture(path, NATIVE)
    assert "1 of 1 files cannot be read" in unreadable([path], max_pixels=10**6, on_corrupt="error")


@pytest.mark.parametrize(
    ("size", "tags"),
    [((30, 20), {}), ((60, 40), {254: 1}), ((60, 40), {254: 4}), ((60, 40), {255: 2})],
    ids=["thumbnail", "smaller copy", "mask", "smaller copy by the old tag"],
)
def test_a_photographs_thumbnail_or_mask_is_no_second_picture(
    tmp_path: Path, size: tuple[int, int], tags: dict[int, int]
) -> None:
    image = Image.fromarray(NOISE)
    path = pages(tmp_path / "photograph.tif", image, image.resize(size), tags=tags)
    np.testing.assert_array_equal(array(decode.decode(path)), NOISE)
    assert unreadable([path], max_pixels=10**6, on_corrupt="error") == ""
