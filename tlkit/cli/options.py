"""Arguments and options that several commands share."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tlkit import files
from tlkit.cli import console
from tlkit.errors import TlkitError, nearest

Name = TypeVar("Name", bound=str)
_RUNS = Path("runs")  # by default
_ADDRESS = re.compile("([a-z0-9]{2,}):/+")  # as pathlib leaves it: of two slashes one


def choice(names: Sequence[Name], meaning: str) -> Any:
    """Return an option --kind that takes one of a few names, and whose error offers the nearest of them."""
    listed = [str(name) for name in names]
    return typer.Option(
        "--kind", help=meaning, metavar=f"[{'|'.join(listed)}]", parser=_reader(names), autocompletion=lambda: listed
    )


def _reader(names: Sequence[Name]) -> Callable[[str], Name]:
    def read(text: str) -> Name:
        if text not in names:
            near = nearest(text, list(names))
            raise typer.BadParameter(
                f'there is no kind "{text}". One of: {", ".join(names)}.' + (f"\n  {near}" if near else "")
            )
        return names[names.index(text)]

    return read


def folder_of_runs(path: str) -> str:
    """Refuse a file in place of the folder of runs, or of one that it lies in."""
    file = files.file_in_place_of(Path(path))
    if file is not None:
        what = "" if file == Path(path) else f"{file} "
        raise TlkitError(f"--runs {path}: {what}is a file, not a folder.", "a folder, which may be a new one: --runs runs")
    return path


def _no_address(path: Path) -> Path:
    """Refuse an address of run folders, of which pathlib makes a path, and a file."""
    if is_address(path):
        raise typer.BadParameter(f"{path} is an address, which apply alone takes. Name its copy: apply prints where that is.")
    return path if path == _RUNS else Path(folder_of_runs(str(path)))  # nobody named that one, and it may not be needed


def copy_of(run: Path) -> Path:
    """Return a RUN argument; of an address the copy of its runs on this machine, which is fetched."""
    from tlkit.record import remote_runs

    return _copy(run, remote_runs.fetched)


def copy_of_all(folder: Path) -> Path:
    """Return a folder of runs; of an address the copy of all runs below it, which is fetched."""
    from tlkit.record import remote_runs

    return _copy(folder, remote_runs.fetched_all)


def is_address(path: Path) -> bool:
    """Return whether a path is what pathlib made of an address."""
    return _ADDRESS.match(path.as_posix()) is not None


def _copy(path: Path, fetched: Callable[[str], Path]) -> Path:
    begins = _ADDRESS.match(path.as_posix())
    if begins is None:
        return path
    root = "/" if begins[1] in ("file", "local") else ""
    address = f"{begins[1]}://{root}{path.as_posix()[begins.end() :]}"
    folder = fetched(address)
    console.say(f"{address}: read from its copy, {folder}")
    return folder


def file_here(path: Path | None) -> Path | None:
    """Return the file or folder that is written; refuse an address, of which a folder of that name would be made here."""
    if path is not None and is_address(path):
        raise typer.BadParameter(
            f"{path} is an address, and the output is written on this machine. Name a file or folder here."
        )
    return path


def out(meaning: str, metavar: str = "FILE") -> Any:
    """Return an option --out, of what a command writes on this machine."""
    return typer.Option("--out", "-o", metavar=metavar, help=meaning, callback=file_here)


RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, a TOML file.")]
RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, or a recipe's folder or name: then its best run by validation.",
        callback=copy_of,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe in every arm; arms.NAME.KEY=VALUE in one."),
]
ArmOption = Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Only this arm.")]
RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the run folders.", callback=_no_address)]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of the images.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ExecutorOption = Annotated[
    str, typer.Option("--executor", metavar="NAME", help="Where work is carried out: local is this process; ray, a cluster.")
]
AddressOption = Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Of the cluster; auto for this machine's.")]
CpusOption = Annotated[
    int, typer.Option("--cpus-per-run", metavar="N", help="Processors, and threads, of a run or a shard on a cluster.")
]
GpusOption = Annotated[
    float, typer.Option("--gpus-per-run", metavar="N", help="GPUs of a run or a shard on a cluster; 0.5 for two on one.")
]
TileOption = Annotated[
    int | None,
    typer.Option(
        "--tile",
        min=32,
        metavar="PIXELS",
        help="Of masks: larger pictures in tiles of this side, where memory is short; by default as the recipe's data.tile_size says.",
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        help="Largest width times height of an image; by default the recipe's data.max_pixels.",
    ),
]
ViewsOption = Annotated[
    int,
    typer.Option(
        "--views",
        metavar="[1|2|5|10]",
        help="Average over views of each image: 2 are it and its mirror image, 5 it and its corners, 10 both.",
    ),
]
