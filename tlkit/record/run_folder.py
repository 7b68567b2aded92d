"""Names, formats and reading of the files in a run folder. Imports no torch.

The rule: result.json is an interface that other programs read; a folder of another format is named, never guessed at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, computed_field

from tlkit import files
from tlkit.errors import RunFolderError, option, reason
from tlkit.plugin import Convention
from tlkit.record import kernels, record_files, selection
from tlkit.record.formats import ComputeFormat
from tlkit.record.timings import EarlierChoices

FORMAT = 1
WEIGHTS, RESULT, RECIPE, RESOLVED = "weights.safetensors", "result.json", "recipe.toml", "resolved.toml"
PLAN, SPLIT, METRICS = "plan.json", "split.json", "metrics.jsonl"
CURVES, REPORT = "curves.svg", "report.html"  # in a recipe's folder
EVALUATION, SOLVED = "evaluation.json", "head.skops"
CHECKPOINT = "checkpoint"
OPTIMIZER = "optimizer.safetensors"  # of a saved model, where its optimizer has a state
_SEAL = "# sha256 of the lines below: "  # begins resolved.toml
BEST = "best-{epoch}.safetensors"  # in the checkpoint's folder
STATE = "state-{epochs}.safetensors"  # after so many epochs, and
STATE_WITHIN = "state-{epochs}-{steps}.safetensors"  # after so many steps of the next one
_STATE = re.compile(r"state-([0-9]+)(?:-([0-9]+))?\.safetensors")
Metrics = dict[str, float]
Coordinates = tuple[str, int, int | None]  # of a run: its arm, its seed and, with cross-validation, its fold


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Parameters(_Record):
    """The number of parameters of the network, and of those that trained in some phase."""

    total: int
    trained: int


class FileRecord(_Record):
    """Size and sha256 of a file of the run."""

    bytes: int
    sha256: str


class RunResult(_Record):
    """One run. `test`, `validation` and `also`, of other data sets, are the best epoch's by validation, or the last's without such.

    `train` is of the same epoch: its mean over the training batches, augmented, as the network was at each of them. `target` has its
    scores of the target of [adapt] that need no label. `times` are seconds after the last epoch: "test" of evaluating the best one,
    and "report" of making report.npz.
    """

    format: Literal[1] = 1
    recipe: str
    arm: str
    seed: int
    fold: int | None = None
    status: Literal["running", "interrupted", "failed", "pruned", "finished"]
    digest: str
    exact: bool = True
    why_inexact: str = ""
    train: Metrics | None = None
    test: Metrics | None = None
    validation: Metrics | None = None
    also: dict[str, Metrics] = {}
    target: Metrics | None = None
    best_epoch: int | None = None
    select_by: str = "accuracy"
    epochs: int = 0
    seconds: float = 0.0
    times: Metrics = {}
    parameters: Parameters
    skipped_images: int = 0
    adapt: dict[str, Any] | None = None
    domains: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    versions: dict[str, str]
    files: dict[str, FileRecord] = {}

    @property
    def decisive(self) -> Metrics | None:
        """The scores that the run was selected by: of validation images, or of the target of [adapt]."""
        found = selection.decisive(self.validation, self.target, self.select_by)
        return None if found is None else dict(found)

    @computed_field  # type: ignore[prop-decorator]  # mypy allows no decorator above property; pydantic asks for it
    @property
    def gap(self) -> float | None:
        """Return the accuracy on the training images minus that on the test images; None where either is missing."""
        train, test = (None if scores is None else scores.get("accuracy") for scores in (self.train, self.test))
        return None if train is None or test is None else train - test


def folder_of(runs: Path, *, recipe: str, arm: str, seed: int, fold: int | None, digest: str) -> Path:
    """Return the folder of one run."""
    return runs / recipe / name_of(arm, seed, fold, digest=digest)


def name_of(arm: str, seed: int, fold: int | None, *, digest: str) -> str:
    """Return the name of a run's folder."""
    return f"{arm}-s{seed}-{'' if fold is None else f'f{fold}-'}{digest[:8]}"


def label(arm: str, seed: int, fold: int | None) -> str:
    """Return arm, seed and fold in words, as messages name a run."""
    return f"{arm}, seed {seed}" + ("" if fold is None else f", fold {fold}")


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, not a recipe's: also where one of its files is missing."""
    return any(all((folder / name).is_file() for name in names) for names in ([RESOLVED], [RECIPE, RESULT]))


def read(folder: Path) -> RunResult | None:
    """Read a run's result.

    Returns:
        None where the run has none yet.

    Raises:
        RunFolderError: it is of another format, or damaged.
    """
    path = folder / RESULT
    if not os.path.lexists(path):
        return None
    record = _json(path)
    if "arms" in record:
        raise RunFolderError(f"{folder}: is a recipe's folder, not a run's.", "a run's folder is one below it")
    _check_format(path, record)
    try:
        return RunResult.model_validate(record)
    except ValidationError as error:
        line = error.errors()[0]
        raise RunFolderError(f"{path}: is damaged: {'.'.join(map(str, line['loc']))}: {line['msg']}.", _move()) from error


def write(folder: Path, result: RunResult) -> None:
    """Write a run's result.json."""
    files.replace(folder / RESULT, json.dumps(to_record(result), indent=2) + "\n")


def to_record(result: RunResult) -> dict[str, Any]:
    """Return a run's result as JSON; "fold" is there with cross-validation alone, "adapt", "domains" and "target" with [adapt]."""
    return result.model_dump(
        mode="json", exclude={name for name in ("fold", "adapt", "domains", "target") if getattr(result, name) is None}
    )


def write_resolved(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a run's resolved.toml, whose first line holds a checksum of the others: a run that was stopped has no other record of it."""
    content = tomli_w.dumps(record)
    files.replace(folder / RESOLVED, f"{_SEAL}{_checksum(content)}\n{content}")


def resolved(folder: Path) -> dict[str, Any]:
    """Read a run's resolved.toml. One without a checksum, of a version that wrote none, is read as it is.

    Raises:
        RunFolderError: it is missing, damaged or of another format.
    """
    path = folder / RESOLVED
    try:
        content = path.read_text(encoding="utf-8")
        record = record_files.parsed(content)
    except FileNotFoundError:
        raise RunFolderError(f"{folder}: is not the folder of a run: it has no {RESOLVED}.") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: is damaged: {error}.", _move()) from error
    _check_format(path, record)
    first, _, others = content.partition("\n")
    if first.startswith(_SEAL) and first != f"{_SEAL}{_checksum(others)}":
        raise RunFolderError(f"{path}: is damaged: it has other content than when it was written.", _move())
    return record


def inputs(folder: Path) -> dict[str, str]:
    """Return the digests of what a run read, by its names in resolved.toml; {} where that tells of none.

    Raises:
        RunFolderError: as `resolved`.
    """
    found = resolved(folder).get("inputs")
    return {name: str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_other_format(folder: Path) -> None:
    """Refuse a run whose resolved.toml is of another format, before its files are compared with what was written.

    Raises:
        RunFolderError: it is; one that cannot be read is passed over.
    """
    path = folder / RESOLVED
    with contextlib.suppress(OSError, ValueError):
        record = record_files.toml(path)
        if "format" in record:
            _check_format(path, record)


def length(folder: Path) -> int | str:
    """Return the epochs of a run's schedule; "?" where its recipe cannot be read."""
    try:
        return int(record_files.toml(folder / RECIPE)["schedule"]["epochs"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # ValueError: no TOML, no UTF-8, or no number
        return "?"


def convention(folder: Path) -> Convention:
    """Return the preprocessing of a run's network."""
    path = folder / RESOLVED
    try:
        found = TypeAdapter(Convention).validate_python(resolved(folder)["input"])
        if not 0 < found.crop <= 1:
            raise ValueError(f"crop is {found.crop}")
        return found
    except (KeyError, ValueError) as error:  # ValidationError is one
        raise RunFolderError(f"{path}: is damaged: its table [input] cannot be used.", _move()) from error


def states(folder: Path) -> list[Path]:
    """Return the checkpoints that a run can be continued from, the last first."""
    found: list[tuple[int, int, Path]] = []
    with contextlib.suppress(OSError):
        for path in (folder / CHECKPOINT).iterdir():
            if (named := _STATE.fullmatch(path.name)) and path.is_file():
                found.append((int(named[1]), int(named[2] or 0), path))
    return [path for _, _, path in sorted(found, reverse=True)]


def earlier_choices(folder: Path) -> EarlierChoices | None:
    """Return the measured choices of a run that can be continued; None if there is no such run.

    Raises:
        RunFolderError: as `resolved`.
    """
    path = folder / RESOLVED
    if not path.is_file() or not states(folder):
        return None
    known = resolved(folder)
    try:
        prefixes = {int(row["stages"]): _form(row) for row in known["prefixes"]}
        given = convention(folder)
        return EarlierChoices(
            int(known["batch_size"]), _form(known), prefixes, kernels.from_rows(known.get("kernels", ())),
            _form(known["evaluation"]) if "evaluation" in known else None, given if given.channels == "bands" else None,
            {name: float(rate) for name, rate in known.get("rates", {}).items()},
            known["batch_norm"] if known.get("batch_norm") in ("local", "sync") else None, int(known.get("pieces", 1)),
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunFolderError(
            f"{path}: is damaged: batch_size, precision, memory format, kernels or rates: {reason(error)}.", _move()
        ) from error


def _form(table: Mapping[str, Any]) -> ComputeFormat:
    return TypeAdapter(ComputeFormat).validate_python({"precision": table["precision"], "layout": table["memory_format"]})


def runs_of(arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the runs of an arm of a recipe's result.json, by seed and, with cross-validation, by fold."""
    found: list[Mapping[str, Any]] = []
    for seed in arm["seeds"].values():
        found += seed["folds"].values() if "folds" in seed else [seed]
    return found


def text(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON text."""
    return (json.dumps(record, indent=2) + "\n").encode()


def _move() -> str:
    return f"move the folder away, or name another with {option('runs')}"


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}.", _move()) from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: is damaged: {error}.", _move()) from error
    if not isinstance(record, dict):
        raise RunFolderError(f"{path}: is damaged: it is no JSON object.", _move())
    return record


def _check_format(path: Path, record: Mapping[str, Any]) -> None:
    if "format" not in record:
        raise RunFolderError(f"{path}: is not the result of a run: it names no format.", _move())
    if record.get("format") != FORMAT:
        raise RunFolderError(
            f"{path}: is of format {record['format']}, written by another version of tlkit; this one reads format {FORMAT}.",
            _move(),
        )
