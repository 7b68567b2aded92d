"""Files of a run that are damaged are named, not read, and made again from the checkpoint where that is possible."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import toy_runs
from conftest import TOY_RECIPE, python_path
from toy_damages import empty, flip, remove, truncate
from toy_observers import Notes, SignalAfter

from tlkit import api
from tlkit.api import Applied
from tlkit.errors import Interrupted, RunFolderError, TlkitError
from tlkit.record import run_choice, run_differences
from tlkit.reports.page import runs
from tlkit.run import loading

CPU = torch.device("cpu")
TESTS = Path(__file__).parents[1]
MADE_AGAIN = (
    "weights.safetensors",
    "evaluation.json",
    "predictions.npz",
    "report.npz",
    "metrics.jsonl",
    "split.json",
    "plan.json",
    "recipe.toml",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished recipe; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    with toy_runs.applied(folder, TOY_RECIPE):
        return folder / "runs"


@pytest.fixture
def run(finished: Path, toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run of the toy recipe."""
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    (path,) = shutil.copytree(finished, toy_recipe.parent / "runs").glob("*/*/resolved.toml")
    return path.parent


def applied(run: Path, *, verify: bool, notes: Notes | None = None) -> Applied:
    recipe = run.parents[2] / "toy.toml"
    return api.apply(recipe, runs=run.parents[1], verify=verify, observer=notes or Notes())


def test_result_holds_size_and_hash_of_every_file(run: Path) -> None:
    known = json.loads((run / "result.json").read_text())["files"]
    there = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert known.keys() == there - {"result.json"}
    for name, record in known.items():
        assert record["bytes"] == (run / name).stat().st_size


@pytest.mark.parametrize("name", MADE_AGAIN)
@pytest.mark.parametrize("damage", [flip, empty])
def test_damaged_file_is_named_and_made_again(run: Path, name: str, damage: Callable[[Path], None]) -> None:
    before, notes = (run / name).read_bytes(), Notes()
    damage(run / name)
    assert applied(run, verify=damage is flip, notes=notes).changed
    assert any(f"main, seed 0: {name} is damaged: it has" in line for line in notes.notes), notes.notes
    assert len(json.loads((run / "result.json").read_text())["files"]) == len(list(run.rglob("*"))) - 3
    if name not in ("plan.json",):  # its reasons say that choices are kept from before
        assert (run / name).read_bytes() == before
    assert not applied(run, verify=True).changed


@pytest.mark.parametrize("damage", [truncate, empty])
def test_finished_run_of_another_size_is_seen_without_hashing(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / "weights.safetensors")
    assert applied(run, verify=False).changed


def test_bit_that_changed_is_seen_by_verify_alone(run: Path) -> None:
    flip(run / "weights.safetensors")
    assert not applied(run, verify=False).changed
    assert applied(run, verify=True).changed


@pytest.mark.parametrize("name", ["weights.safetensors", "recipe.toml", "resolved.toml"])
@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_prediction_and_comparison_do_not_read_a_damaged_file(run: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(run / name)
    for read in (lambda: loading.load(run, arm=None, device=CPU), lambda: run_differences.differences(run, run)):
        with pytest.raises(RunFolderError, match=rf"{name}: is damaged") as error:
            read()
        assert "apply its recipe again" in str(error.value)
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(RunFolderError, match=rf"{name}: is a folder, and a file of the run has this name"):
        run_differences.differences(run, run)


def test_missing_files_are_named_with_what_makes_them_again(run: Path) -> None:
    (run / "weights.safetensors").unlink()
    (run / "predictions.npz").unlink()
    found, notes = read_again(run), Notes()
    for reader, name in {"predict": "weights.safetensors", "diff": "weights.safetensors", "choice": "weights.safetensors",
                         "report": "predictions.npz"}.items():  # fmt: skip
        assert str(found[reader]) == f"{run / name}: is missing.\n  apply its recipe again to make it again"
    assert applied(run, verify=False, notes=notes).changed
    assert any("weights.safetensors is missing; it is made again" in line for line in notes.notes), notes.notes
    assert not any(isinstance(each, TlkitError) for each in read_again(run).values())
    (run / "resolved.toml").unlink()
    found = read_again(run)
    with pytest.raises(RunFolderError) as error:
        applied(run, verify=False)
    for each in (*found.values(), error.value):
        assert "resolved.toml: is missing.\n  nothing else holds what it held: move the run's folder away" in str(each)


def test_run_does_not_begin_from_damaged_weights(run: Path, toy_recipe: Path) -> None:
    flip(run / "weights.safetensors")
    with pytest.raises(RunFolderError, match=r"weights\.safetensors: is damaged"):
        api.apply(toy_recipe, [f'backbone.weights="run:{run}"', 'name="other"'], runs=run.parents[1])


@pytest.mark.parametrize("name", ["checkpoint/state-2.safetensors", "checkpoint/best-{}.safetensors"])
def test_what_is_lost_is_said_where_the_checkpoint_is_damaged_too(run: Path, name: str) -> None:
    name = name.format(json.loads((run / "result.json").read_text())["best_epoch"])
    flip(run / name)
    empty(run / "weights.safetensors")
    with pytest.raises(RunFolderError, match=rf"{name}: is damaged") as error:
        applied(run, verify=False)
    assert "move the run's folder away to begin anew" in str(error.value)


def test_finished_run_needs_no_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoint")
    assert not applied(run, verify=True).changed


def test_solved_head_that_is_damaged_is_fitted_again(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    settings = ["head.kind=knn", "head.options.neighbors=3"]
    done = api.apply(toy_recipe, settings, runs=toy_recipe.parent / "runs")
    run = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    before = {name: (run / name).read_bytes() for name in ("head.skops", "evaluation.json", "predictions.npz")}
    for name in before:
        empty(run / name)
    assert api.apply(toy_recipe, settings, runs=toy_recipe.parent / "runs").changed
    assert loading.load(run, arm=None, device=CPU)
    for name in ("evaluation.json", "predictions.npz"):  # skops writes the time into its file
        assert (run / name).read_bytes() == before[name]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, so that imports are paid once")
def test_damaged_file_of_an_interrupted_run_or_of_the_cache_is_named_or_makes_no_difference(toy_recipe: Path) -> None:
    """To apply, plan, predict, report and export; a sample, `make soak` damages every file."""
    scratch = toy_recipe.parent / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, str(TESTS / "toy_damage.py"), str(toy_recipe), str(scratch), "9"],
        env={**os.environ, "PYTHONPATH": python_path(TESTS, TESTS / "toy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in found if each["bad"]] == []
    assert len(found) > 8


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def read_again(run: Path) -> dict[str, object]:
    """What a report, a comparison, a prediction and a choice between runs find in a run; an error where there is one."""

    def report() -> object:
        shown = next(iter(runs.read(runs.find([run]))), None)
        if shown is None:
            raise RunFolderError(f"{run}: there is no finished run.")  # as `page.write` says it
        return shown.metrics, shown.plan, shown.evaluation, shown.scores

    def predicted() -> object:
        return {name: tensor.tolist() for name, tensor in loading.load(run, arm=None, device=CPU).network.tensors().items()}

    readers: dict[str, Callable[[], object]] = {
        "report": report,
        "predict": predicted,
        "diff": lambda: run_differences.differences(run_choice.choose(run).folder, run),
        "choice": lambda: run_choice.choose(run.parent).folder,
    }
    return asked(readers)


def planned_and_exported(run: Path) -> dict[str, object]:
    """What a plan of the recipe and an export find in a run; an error where there is one."""
    recipe, out = run.parents[2] / "toy.toml", run.parents[2] / "out"

    def exported() -> object:
        out.mkdir()
        try:
            return api.export(run, "safetensors", out / "net.safetensors").file.read_bytes()
        finally:
            shutil.rmtree(out)

    return asked({"plan": lambda: [each.phases for each in api.plan(recipe, runs=run.parents[1]).values()], "export": exported})


def asked(readers: dict[str, Callable[[], object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, reader in readers.items():
        try:
            found[name] = reader()
        except TlkitError as error:
            found[name] = error
    return found


def wrong_answers(run: Path, damage: Callable[[Path], None], read: Callable[[Path], dict[str, object]]) -> list[object]:
    """What is neither the answer of a sound run nor a message that names the file, for each file damaged by itself."""
    right, wrong = read(run), list[object]()
    for path in sorted(path for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")):
        kept = path.read_bytes()
        damage(path)
        for reader, found in read(run).items():
            told = str(found) if isinstance(found, TlkitError) else str(getattr(found, "note", ""))
            named = path.name in told or told.startswith(
                (f"{run}: ", f"{run.parent}: ")
            )  # the file, or what is no run without it
            if found != right[reader] and not named:
                wrong.append((path.name, reader, str(found)[:200]))
        if path.is_dir():
            path.rmdir()
        path.write_bytes(kept)
    return wrong


@pytest.mark.parametrize("damage", [flip, truncate, empty, folder, remove])
def test_whatever_is_damaged_is_named_or_makes_no_difference(run: Path, damage: Callable[[Path], None]) -> None:
    assert wrong_answers(run, damage, read_again) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, truncate, empty, folder, remove])
def test_plan_and_export_name_what_is_damaged_or_give_the_right_answer(run: Path, damage: Callable[[Path], None]) -> None:
    right = planned_and_exported(run)
    assert not any(isinstance(each, TlkitError) for each in right.values())
    assert wrong_answers(run, damage, planned_and_exported) == []


@pytest.mark.parametrize("line", ["machine", "plugins"])
def test_changed_bit_of_an_interrupted_runs_resolved_toml_is_named(toy_recipe: Path, line: str) -> None:
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs", observer=SignalAfter(1))
    (path,) = toy_recipe.parent.glob("runs/*/*/resolved.toml")
    (result,) = path.parent.glob("result.json")
    record = json.loads(result.read_text())
    result.write_text(json.dumps(record | {"files": {}}))  # as a process leaves it that was killed
    content = bytearray(path.read_bytes())
    content[content.index(b'"', content.index(f"[{line}".encode())) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"resolved\.toml: is damaged: it has other content than when it was written"):
        api.apply(toy_recipe, runs=toy_recipe.parent / "runs")
