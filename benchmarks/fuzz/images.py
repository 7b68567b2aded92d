"""Image files of every format: cut at every 64th byte, then with changed bytes; and a few that claim to be enormous."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, features

from benchmarks.fuzz import mutations
from benchmarks.fuzz.trying import Attempt
from tlkit.engine.images import decode
from tlkit.errors import ImageError
from tlkit.plugin import image_kinds
from tlkit.sources import band_files, image_files

MOST_PIXELS = 20_000_000  # a tenth of what a recipe admits by itself
_STEP = 64  # bytes
_BANDS = 3


def prepare(folder: Path) -> Attempt:
    """Return what decodes a wrong image file, and looks at its beginning as `plan` and `init` do."""
    whole, huge = pictures(), bombs()
    cut = [(name, end) for name, data in whole.items() for end in range(0, len(data), _STEP)]
    names = list(whole)

    def attempt(number: int, draw: Random) -> None:
        if number < len(huge):
            name, content = list(huge.items())[number]
        elif number < len(huge) + len(cut):
            name, end = cut[number - len(huge)]
            content = whole[name][:end]
        else:
            name = draw.choice(names)
            content = mutations.of_bytes(whole[name], draw)
        path = folder / name
        path.write_bytes(content)
        _look(path)
        if name.startswith("bands"):
            band_files.read(path, content, _BANDS, values="uint16", max_pixels=MOST_PIXELS)
        else:
            decode.decode(path, max_pixels=MOST_PIXELS)

    return attempt


def pictures() -> dict[str, bytes]:
    """Return a small picture in every format, by file name: colour, grey, with a palette, with transparency, of 16 bits, of bands."""
    draw = np.random.default_rng(0)
    colour = Image.fromarray(draw.integers(0, 256, (37, 41, 3), np.uint8))
    grey, clear, palette = colour.convert("L"), colour.convert("RGBA"), colour.quantize(16)
    deep = Image.fromarray(draw.integers(0, 65536, (37, 41), np.uint16))
    exif = Image.Exif()
    exif[274] = 6  # turned
    saved = {
        "a.jpg": (colour, {"exif": exif}), "progressive.jpg": (colour, {"progressive": True}), "grey.jpg": (grey, {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}), "a.png": (colour, {}), "palette.png": (palette, {"transparency": 3}),
        "clear.png": (clear, {}), "deep.png": (deep, {}), "a.gif": (palette, {}), "a.webp": (colour, {}),
        "lossless.webp": (clear, {"lossless": True}), "a.bmp": (colour, {}), "a.ppm": (colour, {}), "a.pgm": (deep, {}),
        "a.tif": (colour, {}), "lzw.tif": (colour, {"compression": "tiff_lzw"}), "jpeg.tif": (colour, {"compression": "jpeg"}),
        "deflate.tif": (deep, {"compression": "tiff_adobe_deflate"}), "a.tga": (colour, {"compression": "tga_rle"}), "a.pcx": (colour, {}),
        "a.sgi": (colour, {}), "a.jp2": (colour, {}), "a.ico": (clear.resize((32, 32)), {}), "a.dds": (clear, {}),
        "two.apng": (colour, {"save_all": True, "append_images": [colour], "format": "PNG"}),
        "a.avif": (colour, {}), "a.qoi": (colour, {}), "a.heic": (colour, {}),
    }  # fmt: skip
    found = {}
    for name, (picture, options) in saved.items():
        made = _saved(picture, name, options)
        if made is not None:
            found[name] = made
    array = io.BytesIO()
    np.save(array, draw.integers(0, 65536, (9, 11, _BANDS), np.uint16))
    return found | {"bands.npy": array.getvalue(), "bands.tif": _bands_of_tiff(draw)}


def bombs() -> dict[str, bytes]:
    """Return small files that claim, or unpack to, very much."""
    side = struct.pack(">II", 60_000, 60_000)
    below = struct.pack(">II", 4_000, 4_000)
    array = io.BytesIO()
    np.save(array, np.zeros((1, 1, _BANDS), np.uint16))
    return {
        "huge.png": _png(side), "nearly.png": _png(below), "text.png": _png(struct.pack(">II", 8, 8), text=b"x\0\0" + _packed(200_000_000)),
        "huge.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 6 + b"," + struct.pack("<HHHH", 0, 0, 65535, 65535)
        + b"\0\x02\x02L\x01\0;",
        "huge.bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.ppm": b"P6 100000 100000 255\n", "endless.ppm": b"P6 " + b"9" * 100_000,
        "bands-huge.npy": array.getvalue().replace(b"(1, 1, 3)", b"(99999, 99999, 3)"),
        "bands-object.npy": array.getvalue().replace(b"<u2", b"|O8"),
    }  # fmt: skip


def _look(path: Path) -> None:
    image_files.unreadable(
        [path], max_pixels=MOST_PIXELS, on_corrupt="error", bands=_BANDS if path.name.startswith("bands") else None
    )
    image_files.usual_size([path], bands=_BANDS if path.name.startswith("bands") else None)
    image_kinds.kind(path)
    image_kinds.kind(path.with_suffix(""))


def _saved(picture: Image.Image, name: str, options: dict[str, object]) -> bytes | None:
    """Return a picture in a format; None where this Pillow cannot write it."""
    written, suffix = io.BytesIO(), name.rpartition(".")[2]
    if suffix == "heic":
        try:
            import pillow_heif
        except ImportError:
            return None
        pillow_heif.from_pillow(picture).save(written)
        return written.getvalue()
    if suffix in ("avif", "webp") and not features.check(suffix):
        return None
    format_ = str(options.pop("format", "") or Image.registered_extensions().get(f".{suffix}", ""))
    try:
        picture.save(written, format_, **options)
    except (KeyError, OSError):
        return None
    return written.getvalue()


def _bands_of_tiff(draw: np.random.Generator) -> bytes:
    import tifffile

    written = io.BytesIO()
    tifffile.imwrite(
        written, draw.integers(0, 65536, (9, 11, _BANDS), np.uint16), photometric="minisblack", planarconfig="contig",
        compression="zlib",
    )  # fmt: skip
    return written.getvalue()


def _png(size: bytes, text: bytes = b"") -> bytes:
    width, height = struct.unpack(">II", size)
    rows = _packed((width * 3 + 1) * min(height, 100))
    chunks = [(b"IHDR", size + b"\x08\x02\0\0\0"), *([(b"zTXt", text)] if text else []), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _packed(count: int) -> bytes:
    """Return so many zeros, compressed."""
    packer, part = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(
        [*(packer.compress(part[: min(len(part), count - at)]) for at in range(0, count, len(part))), packer.flush()]
    )


__all__ = ["MOST_PIXELS", "ImageError", "bombs", "pictures", "prepare"]
