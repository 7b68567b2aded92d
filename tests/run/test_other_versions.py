"""Files of older and newer versions of tlkit: what is of another format is named, or computed again, and never guessed at."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from conftest import TOY_RECIPE
from toy_observers import SignalAfter

from tlkit import api, file_digests, files
from tlkit.errors import Interrupted, RunFolderError, TlkitError
from tlkit.network import sealed_files
from tlkit.record import run_differences, run_list
from tlkit.reports.page import runs
from tlkit.run import loading

CPU = torch.device("cpu")
SETTINGS = ("freeze.backbone=true",)
FORMATS = {"result.json": 1, "resolved.toml": 1, "plan.json": 10}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished recipe, and the cache that it filled."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "toy.toml").write_text(TOY_RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        patch.setattr("tlkit.reports.summary.draw", lambda *_: None)
        api.apply(folder / "toy.toml", SETTINGS, runs=folder / "runs")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "copy" / "cache"))
    return shutil.copytree(finished, tmp_path / "copy")


def run_of(place: Path) -> Path:
    (path,) = place.glob("runs/toy/*/resolved.toml")
    return path.parent


def answers(place: Path) -> dict[str, str]:
    """What the commands that read a run say of it, or their message."""
    run = run_of(place)

    def predicted() -> object:
        network = loading.load(run, arm=None, device=CPU).network
        return {name: tensor.tolist() for name, tensor in network.tensors().items()}

    def reported() -> object:
        (shown,) = runs.read([run])
        return shown.metrics, shown.evaluation, shown.scores, shown.plan

    readers: dict[str, Callable[[], object]] = {
        "plan": lambda: [each.phases for each in api.plan(place / "toy.toml", SETTINGS, runs=place / "runs").values()],
        "predict": predicted,
        "report": reported,
        "export": lambda: api.export(run, "safetensors", place / "out" / "net.safetensors").file.read_bytes(),
        "diff": lambda: run_differences.differences(run, run).note,
        "runs": lambda: [each.error or (each.result and each.result.test) for each in run_list.below(place / "runs")],
        "apply": lambda: api.apply(place / "toy.toml", SETTINGS, runs=place / "runs").result["arms"]["main"]["test"],
    }
    found = {}
    (place / "out").mkdir()
    for name, reader in readers.items():
        try:
            found[name] = repr(reader())
        except TlkitError as error:
            found[name] = f"message: {error}"
    shutil.rmtree(place / "out")
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_run_of_an_older_or_newer_version_is_named_by_all_that_read_the_file(place: Path, name: str) -> None:
    path, now = run_of(place) / name, FORMATS[name]
    right, kept = answers(place), path.read_text()
    assert not any(each.startswith("message") for each in right.values())
    for other in (now - 1, now + 1):
        changed = kept.replace(f'"format": {now}', f'"format": {other}').replace(f"format = {now}\n", f"format = {other}\n")
        assert changed != kept
        path.write_text(changed)
        found = answers(place)
        for reader, told in found.items():
            named = (told.startswith("message") or reader == "runs") and f"{name}: is " in told
            named |= f"{name}: is of format {other}, written by another version of tlkit; this one reads format {now}." in told
            assert told == right[reader] or named, (reader, told[:300])
        assert sum(told != right[reader] for reader, told in found.items()) >= 1
        assert path.read_text() == changed or name == "plan.json"  # of another size, which apply makes again


def test_checkpoint_of_a_newer_version_is_refused_by_name_and_stays(toy_recipe: Path) -> None:
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=SignalAfter(1))
    (state,) = toy_recipe.parent.glob("runs/*/*/checkpoint/state-*.safetensors")
    with safetensors.safe_open(state, "pt") as file:
        about = {name: value for name, value in file.metadata().items() if name != "sha256"}
    sealed_files.write(state, safetensors.torch.load_file(state), {**about, "format": "3"})
    newer = state.read_bytes()
    with pytest.raises(RunFolderError, match=rf"{state.name}: is of format 3, written by another version") as error:
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
    assert "this one reads format 2" in str(error.value)
    assert state.read_bytes() == newer


def test_rows_of_a_newer_version_are_computed_again_and_stay(place: Path) -> None:
    indexes = sorted((place / "cache").rglob("*.index"))
    assert indexes
    for path in indexes:
        path.write_bytes(path.read_bytes().replace(b"tlkit rows 1", b"tlkit rows 2", 1))
    newer = {path: path.read_bytes() for path in indexes}
    before = json.loads((run_of(place) / "result.json").read_text())
    shutil.rmtree(run_of(place))
    notes = SignalAfter(99)
    api.apply(place / "toy.toml", SETTINGS, runs=place / "runs", observer=notes)
    after = json.loads((run_of(place) / "result.json").read_text())
    assert (after["test"], after["train"], after["validation"]) == (before["test"], before["train"], before["validation"])
    assert any("is of another version of tlkit: its rows are computed again" in note for note in notes.notes)
    assert {path: path.read_bytes() for path in indexes} == newer


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("path blob primary key, stat text, sha256 text", "?, '0', 'older'"),
        ("path blob primary key, stat text, sha256 text, crc integer, size integer", "?, '0', 'newer', 0, 0"),
    ],
    ids=["older", "newer"],
)
def test_remembered_hashes_of_another_version_are_not_believed_and_hashes_are_remembered(
    tmp_path: Path, columns: str, values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "_RACY", 0)
    file = tmp_path / "file"
    file.write_bytes(b"content")
    (tmp_path / "cache").mkdir()
    database = files.cache_folder() / file_digests.HASHES
    with contextlib.closing(sqlite3.connect(database)) as memory, memory:
        memory.execute(f"create table file ({columns})")
        memory.execute(f"insert into file values ({values})", (str(file).encode(),))
    first = file_digests.digests([file])
    with contextlib.closing(sqlite3.connect(database)) as memory:
        ((known,),) = memory.execute("select sha256 from file")
    assert known == first[0].hex()
    monkeypatch.setattr(file_digests, "_RACY", 0)
    assert file_digests.digests([file]) == first
