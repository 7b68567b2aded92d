"""Check the files of a run against the sizes and hashes that its result.json holds. Imports no torch.

The rule: a run's own files are known by name. Others in its folder are not checked: loggers go on writing theirs after the run's end.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tlkit import file_digests
from tlkit.errors import RunFolderError
from tlkit.record import predictions, report_data, run_folder
from tlkit.record.run_folder import FileRecord, RunResult

_MISSING = "is missing"
_OWN = frozenset({
    run_folder.RECIPE, run_folder.RESOLVED, run_folder.PLAN, run_folder.SPLIT, run_folder.METRICS, run_folder.WEIGHTS,
    run_folder.SOLVED, run_folder.EVALUATION, run_folder.OPTIMIZER, predictions.FILE, report_data.FILE,
})  # fmt: skip


def record(folder: Path) -> dict[str, FileRecord]:
    """Return size and sha256 of a run's own files, its checkpoint too, by the path in its folder; result.json is left out."""
    paths = sorted([*(folder / name for name in _OWN), *(folder / run_folder.CHECKPOINT).rglob("*")])
    paths = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    hashes = file_digests.digests(paths, again=True)
    return {
        path.relative_to(folder).as_posix(): FileRecord(bytes=path.stat().st_size, sha256=digest.hex())
        for path, digest in zip(paths, hashes, strict=True)
    }


def damaged(
    folder: Path, result: RunResult, names: Iterable[str] | None = None, *, hashes: bool = False, again: bool = False
) -> dict[str, str]:
    """Return what is wrong with the files of a run, in words, by their path in its folder.

    Args:
        folder: The run's folder.
        result: Its result; one without sizes and hashes finds nothing wrong.
        names: Look only at these files; by default at its own but the checkpoint, which a finished run no longer needs.
        hashes: Compare hashes, not only sizes.
        again: Hash every file, whatever is remembered of it.
    """
    wanted = [name for name in result.files if name in _OWN] if names is None else names  # earlier versions recorded others too
    found = {}
    for name in wanted:
        known, path = result.files.get(name), folder / name
        if known is None:
            continue
        if not path.is_file():
            found[name] = "is a folder" if path.is_dir() else _MISSING
        elif (size := path.stat().st_size) != known.bytes:
            found[name] = f"has {size:,} bytes instead of {known.bytes:,}"
        elif hashes and file_digests.digests([path], again=again)[0].hex() != known.sha256:
            found[name] = "has other content than when it was written"
    return found


def check(folder: Path, names: Iterable[str]) -> None:
    """Refuse files of a run that are not as they were written.

    Args:
        folder: The run's folder; one without a result is not checked.
        names: The files that are about to be read; one that the run never wrote is passed over.

    Raises:
        RunFolderError: a file is missing, or its size or hash is another.
    """
    result = run_folder.read(folder)
    if result is None:
        return
    for name, why in damaged(folder, result, names, hashes=True).items():
        if (folder / name).is_dir():
            raise RunFolderError(
                f"{folder / name}: {why}, and a file of the run has this name.", "move it away, and apply its recipe again"
            )
        if not result.digest:
            hint = "save the model again; nothing else holds the file"
        elif name == run_folder.RESOLVED:
            hint = "nothing else holds what it held: move the run's folder away, and apply its recipe again to train it anew"
        else:
            hint = "apply its recipe again to make it again"
        raise RunFolderError(f"{folder / name}: {in_words(why)}.", hint)


def in_words(why: str) -> str:
    """Return what `damaged` says of a file as the end of a sentence that begins with its name."""
    return why if why == _MISSING else f"is damaged: it {why}"
