"""Which files are images: by their suffix, and by their first bytes where the suffix says nothing. Imports no torch.

The rule: what tlkit can decode is taken, whatever it is called; what it cannot is counted by suffix, never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path

from tlkit import units
from tlkit.errors import DataError

# Suffixes, in lower case, of what Pillow decodes in every build. Pillow's other formats are rare, and are known by their first bytes.
SUFFIXES = (
    ".apng", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo",
    ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
_TAKEN = frozenset(SUFFIXES)
_AVIF = (".avif", ".avifs")
_HEIF = (".heic", ".heics", ".heif", ".heifs", ".hif")
# Files that people keep beside images: labels, lists, notes, archives. They are no images, and are not counted as left out.
_BESIDE = frozenset(
    (
        ".7z", ".bak", ".bz2", ".cfg", ".conf", ".csv", ".db", ".doc", ".docx", ".geojson", ".gz", ".h5", ".hdf", ".hdf5", ".htm",
        ".html", ".ini", ".ipynb", ".json", ".jsonl", ".lnk", ".log", ".mat", ".md", ".md5", ".npy", ".npz", ".parquet", ".pickle",
        ".pkl", ".pt", ".pth", ".py", ".rar", ".rst", ".sha256", ".sqlite", ".tar", ".tfrecord", ".tgz", ".toml", ".tsv", ".txt",
        ".url", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zip",
    )
)  # fmt: skip
# Raw photographs begin as TIFF files do, but what Pillow finds in them is a small preview.
_RAW = frozenset(
    (
        ".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".orf", ".pef",
        ".rw2", ".rwl", ".sr2", ".srf", ".srw",
    )
)  # fmt: skip
# Suffixes, in lower case, of files that are read as images of bands.
BAND_SUFFIXES = (".npy", ".tif", ".tiff")
_HEAD = 16  # bytes that tell a format
_MAGIC = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
    b"8BPS", b"qoif",
)  # fmt: skip


class Kind(Enum):
    """What a file is, by name and first bytes."""

    IMAGE = "an image"
    BESIDE = "no image"
    LEFT_OUT = "a file that may hold a picture, and cannot be decoded"


def kind(path: Path) -> Kind:
    """Return what a file is. Its first bytes are read only where its suffix says nothing."""
    known = kind_of_suffix(path.suffix.lower())
    return known or (Kind.IMAGE if _begins_as_an_image(path) else Kind.LEFT_OUT)


def kind_of_suffix(suffix: str) -> Kind | None:
    """Return what a suffix, in lower case, says of a file; None where it says nothing."""
    if suffix in _TAKEN or (suffix in _AVIF and _reads_avif()) or (suffix in _HEIF and reads_heif()):
        return Kind.IMAGE
    if suffix in _BESIDE:
        return Kind.BESIDE
    return Kind.LEFT_OUT if suffix in (*_AVIF, *_HEIF) or suffix in _RAW else None


def kind_of_bands(suffix: str) -> Kind:
    """Return what a suffix, in lower case, says of a file where images have bands: `data.channels`."""
    if suffix in BAND_SUFFIXES:
        return Kind.IMAGE
    return Kind.BESIDE if suffix in _BESIDE else Kind.LEFT_OUT


def is_heif(head: bytes) -> bool:
    """Return whether these are the first bytes of a HEIF file, as telephones write them (.heic)."""
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def reads_heif() -> bool:
    """Let Pillow read HEIF files, if pi-heif is installed; return whether it is."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener(thumbnails=False)
    return True


def counted(left_out: Mapping[str, int]) -> str:
    """Return suffixes and how many files have each, in words: "12 .heic, 2 without suffix".

    Args:
        left_out: Files by suffix, "" for those that have none.
    """
    ordered = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in ordered)


def advice(left_out: Iterable[str]) -> str:
    """Return what would make files of these suffixes readable; "" where nothing that is known of would."""
    suffixes = set(left_out)
    found = []
    if suffixes & set(_HEIF):
        found.append("`pip install tlkit[heif]` reads .heic files")
    if suffixes & set(_AVIF):
        found.append("Pillow 11.3 or newer reads .avif files")
    return "; ".join(found)


def remark(left_out: Mapping[str, int], *, bands: bool = False) -> tuple[str, ...]:
    """Return a line that says what was left out, as no image or as no image of bands; () where nothing was."""
    if not left_out:
        return ()
    advised = "" if bands else advice(left_out)
    kind = "images of bands" if bands else "images"
    return (f"left out, as files that cannot be read as {kind}: {counted(left_out)}{'; ' if advised else ''}{advised}",)


def refuse_more_left_out(folder: Path, left_out: Mapping[str, int], taken: int, *, bands: bool = False) -> None:
    """Refuse a folder of which most files cannot be read as images, or as images of bands.

    Raises:
        DataError: more files are left out than taken.
    """
    count = sum(left_out.values())
    if count > taken:
        kind = "images of bands" if bands else "images"
        raise DataError(
            f"{folder}: {count:,} files cannot be read as {kind} ({counted(left_out)}), more than the {units.images(taken)} that can.",
            "without data.channels they are read as colour pictures" if bands else advice(left_out),
            "convert them, or move them out of the folder",
        )


@cache
def _reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _begins_as_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False  # nobody says that it is an image
    if head.startswith(_MAGIC):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":
        return head[6:10] == bytes(4)  # reserved, and 0
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
        return head[2:3] in (b" ", b"\t", b"\n", b"\r")
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return _reads_avif()
    return is_heif(head) and reads_heif()
