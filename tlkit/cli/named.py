"""Find the run and the image files that a command line names."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console
from tlkit.errors import DataError, DataMissing

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor

_STANDARD_INPUT = Path("-")
_SHARDS = (".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".parquet")

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGES...",
        help="Image files; folders: every image in them and below; quoted patterns, 'new/*.jpg'; - for a list of these on "
        "standard input, one a line.",
    ),
]


def load(run: Path, runs: Path, arm: str | None, device: str) -> tuple[Path, Predictor]:
    """Return the folder of the run that is meant, and its network."""
    from tlkit.record import run_choice
    from tlkit.run import executor, loading

    chosen = run_choice.choose(run_choice.named(run, runs), arm)
    if chosen.why:
        console.say(f"{chosen.folder}: {chosen.why}")
    where = executor.device_of(device)
    return chosen.folder, loading.load(chosen.folder, arm=None, device=where, note=console.say)


def image_files(given: Sequence[Path], *, bands: bool, where: str) -> list[Path]:
    """Return the files that paths, folders, patterns and a list on standard input name.

    Args:
        given: As the command line has them.
        bands: Images are files of bands, .npy and TIFF.
        where: The command, which begins a message.

    Raises:
        DataError: a folder holds no image.
    """
    from tlkit.sources import image_files as folders

    paths: list[Path] = []
    for path in given:
        if path == _STANDARD_INPUT:
            lines = [Path(os.fsdecode(line)) for line in sys.stdin.buffer.read().splitlines() if line.strip()]
            if not lines:
                raise DataError(f"{where}: standard input names no image.", "one image a line, as find and ls print them")
            paths += image_files([line for line in lines if line != _STANDARD_INPUT], bands=bands, where=where)
        elif path.is_dir():
            paths += folders.below(path, where=where, notify=console.say, bands=bands)
        elif (
            glob.has_magic(str(path)) and not os.path.lexists(path) and (found := sorted(glob.glob(str(path), recursive=True)))
        ):
            paths += image_files([Path(each) for each in found], bands=bands, where=where)
        else:
            paths.append(path)
    return paths


def refuse_missing(given: Sequence[Path]) -> None:
    """Refuse what is neither a file, a folder nor a pattern, where files that are missing are not told one by one.

    Raises:
        DataMissing: with the first of them.
    """
    for path in given:
        if path != _STANDARD_INPUT and not os.path.lexists(path) and not glob.has_magic(str(path)):
            raise DataMissing(f"{path}: there is no such file or folder.", "images, a folder of them, or a folder of shards")


def holds_images(folder: Path) -> bool:
    """Return whether a folder has image files in it or below; False where it is none."""
    from tlkit.sources import image_files as folders

    try:
        return bool(folders.below(folder, where="")) if folder.is_dir() else False
    except DataError:
        return False


def shards(images: Sequence[Path]) -> str | None:
    """Return the folder, pattern or address of shards that a command line names; None where it names images."""
    if len(images) != 1:
        return None
    text = str(images[0])
    protocol, colon, rest = text.partition(":/")
    if colon and len(protocol) > 1 and "/" not in protocol:  # pathlib makes one slash of two
        return f"{protocol}://{rest.lstrip('/')}"
    if text.lower().endswith(_SHARDS):
        return text
    return text if images[0].is_dir() and any(each.name.lower().endswith(_SHARDS) for each in images[0].iterdir()) else None
