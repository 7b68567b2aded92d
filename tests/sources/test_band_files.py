"""Files of bands are read as they are, or refused with their path."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tlkit.errors import ImageError
from tlkit.sources import band_files
from tlkit.sources.band_files import Bands

DRAW = np.random.default_rng(0)
BANDS = DRAW.integers(0, 4000, (16, 20, 13)).astype(np.uint16)  # (height, width, bands)
PAGES = BANDS.transpose(2, 0, 1)
GREY = {"photometric": "minisblack"}


def read(path: Path, bands: int = 13, values: str = "uint16", max_pixels: int = 10_000) -> Bands:
    return band_files.read(path, path.read_bytes(), bands, values=values, max_pixels=max_pixels)


@pytest.mark.parametrize("values", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("array", [BANDS, PAGES, BANDS.astype(">u2")], ids=["bands last", "bands first", "big endian"])
def test_arrays_are_read_with_their_bands_last(tmp_path: Path, array: Bands, values: str) -> None:
    array = array if values == "uint16" else (array % 256).astype(values)
    expected = BANDS if values == "uint16" else (BANDS % 256).astype(values)
    np.save(tmp_path / "a.npy", array)
    found = read(tmp_path / "a.npy", values=values)
    assert found.dtype == np.dtype(values)
    np.testing.assert_array_equal(found, expected)
    header = band_files.header(tmp_path / "a.npy")
    assert (header.values, header.size(band_files.band_axis(tmp_path / "a.npy", header, 13))) == (values, (16, 20))


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (PAGES, GREY),
        (PAGES, {**GREY, "metadata": None}),
        (PAGES, {**GREY, "planarconfig": "separate"}),
        (PAGES, {**GREY, "bigtiff": True}),
        (PAGES, {**GREY, "byteorder": ">"}),
        (PAGES, {**GREY, "compression": "lzw"}),
        (PAGES, {"imagej": True}),
        (BANDS, {**GREY, "planarconfig": "contig"}),
        (BANDS, {**GREY, "planarconfig": "contig", "tile": (16, 16), "compression": "deflate", "predictor": True}),
        (BANDS, {}),
    ],
    ids=["pages", "plain", "planar", "BigTIFF", "big endian", "LZW", "ImageJ", "interleaved", "tiles", "as numpy has it"],
)
def test_bands_of_a_tiff_file_are_its_pages_or_its_samples(tmp_path: Path, array: Bands, options: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), BANDS)
    header = band_files.header(tmp_path / "a.tif")
    assert (header.values, header.size(band_files.band_axis(tmp_path / "a.tif", header, 13))) == ("uint16", (16, 20))


def test_smaller_copies_in_a_tiff_file_are_passed_over(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS, planarconfig="contig", metadata=None, **GREY)
        file.write(BANDS[::2, ::2], planarconfig="contig", metadata=None, subfiletype=1, **GREY)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), BANDS)


def test_one_band_needs_no_axis_of_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS[:, :, 0])
    tifffile.imwrite(tmp_path / "a.tif", BANDS[:, :, 0])
    np.save(tmp_path / "b.npy", BANDS[:, :, :1])
    for name in ("a.npy", "a.tif", "b.npy"):
        np.testing.assert_array_equal(read(tmp_path / name, 1), BANDS[:, :, :1])


def save(path: Path, kind: str) -> None:
    nan = BANDS.astype(np.float32)
    nan[3, 4, 2] = np.nan
    arrays = {
        "four": BANDS[:, :, :4],
        "flat": BANDS[:, :, 0],
        "double": BANDS.astype(float),
        "nan": nan,
        "cube": BANDS[:13, :, :],
    }
    if kind == "objects":
        np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps([1]))
    elif kind == "rubbish":
        path.write_bytes(b"no array")
    elif kind == "archive":
        held = io.BytesIO()
        np.savez(held, a=BANDS)
        path.write_bytes(held.getvalue())
    elif kind == "cut":
        np.save(path, BANDS)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "film":
        np.save(path, BANDS[None])
    else:
        np.save(path, arrays[kind])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("four", r"has 16 or 4 bands \(16 x 20 x 4\), and data.channels is 13"),
        ("flat", r"has 1 band \(16 x 20\), and data.channels is 13"),
        ("cube", "is 13 x 20 x 13: the first or the last axis may be that of the 13 bands"),
        ("film", "has 4 axes, 1 x 16 x 20 x 13"),
        ("double", "holds float64; uint8, uint16 and float32 are read"),
        ("nan", r"band 3 of 13 holds values that are no finite numbers \(NaN or infinity\)"),
        ("objects", "holds Python objects"),
        ("pickle", "is no .npy file"),
        ("rubbish", "is no .npy file"),
        ("archive", r"is an archive of arrays \(.npz\)"),
        ("cut", "cannot be decoded: "),
        ("empty", "cannot be decoded: No data left"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_with_its_path(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "a.npy"
    save(path, kind)
    with pytest.raises(ImageError, match=rf"^{path}: {said}"):
        read(path, values="float32" if kind == "nan" else "uint16")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(ImageError):
            read(tmp_path / name)
        with pytest.raises(ImageError):
            band_files.header(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_tiff_file_that_does_not_fit_is_refused_with_its_path(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as file:
        file.write(BANDS[:, :, 0], metadata=None)
        file.write(BANDS[:8, :8, 0], metadata=None)
    tifffile.imwrite(tmp_path / "few.tif", PAGES[:4], **GREY)
    tifffile.imwrite(tmp_path / "type.tif", PAGES.astype(np.int16), **GREY)
    tifffile.imwrite(tmp_path / "cut.tif", PAGES, **GREY)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:2000])
    (tmp_path / "text.tif").write_text("no picture")
    with tifffile.TiffWriter(tmp_path / "ring.tif") as file:
        for page in PAGES[:2]:
            file.write(page, metadata=None)
    with tifffile.TiffFile(tmp_path / "ring.tif") as file:
        first, second = (page.offset for page in file.pages)
    ring = bytearray((tmp_path / "ring.tif").read_bytes())
    end = second + 2 + 12 * int.from_bytes(ring[second : second + 2], "little")  # after its tags: where the next page is
    ring[end : end + 4] = first.to_bytes(4, "little")
    (tmp_path / "ring.tif").write_bytes(ring)
    tifffile.imwrite(
        tmp_path / "palette.tif", (PAGES[0] % 256).astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), "u2")
    )
    for name, said, bands in (
        ("sizes.tif", "holds images of several sizes or types", 13),
        ("few.tif", r"has 4 bands \(4 x 16 x 20\)|has 4 or 20 bands", 13),
        ("type.tif", "holds int16; uint8, uint16 and float32 are read", 13),
        ("cut.tif", "cannot be decoded", 13),
        ("text.tif", "cannot be decoded", 13),
        ("ring.tif", "is damaged: its pages lead back to one that came before", 2),
        ("palette.tif", "holds places in a palette", 1),
    ):
        with pytest.raises(ImageError, match=rf"^{tmp_path / name}: ({said})"):
            read(tmp_path / name, bands)


def test_a_file_of_more_pixels_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"has 20 x 16 pixels, more than the limit of 319, data.max_pixels"):
        read(tmp_path / "a.npy", max_pixels=319)
    with pytest.raises(ImageError, match=r"a.png: is no .npy or .tif or .tiff file"):
        read(tmp_path / "a.png")


def test_tiff_files_without_tifffile_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, **GREY)
    monkeypatch.setattr(band_files, "reads_tiff", lambda: False)
    with pytest.raises(ImageError, match="needs tifffile") as caught:
        read(tmp_path / "a.tif")
    assert "pip install tlkit[spectral]" in str(caught.value)
