"""A search by apply: trials are runs, the best is trained with all seeds, and a killed search goes on with the same values."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from conftest import TOY, TOY_RECIPE
from imports import HEAVY, loaded_by
from rich.console import Console
from safetensors.numpy import save_file
from toy_observers import Notes

from tlkit import api
from tlkit.errors import RunLocked, TlkitError
from tlkit.events import Epoch, Observer
from tlkit.plans import resolve, search_jobs, search_plan
from tlkit.record import epoch_lines, run_folder
from tlkit.reports import search_table
from tlkit.reports.page import runs as page_runs
from tlkit.sources.places import Places

SEARCH = """
[search]
trials = 4
pruner = "none"
[search.space]
"lr_groups.head" = { log = [1e-3, 1e-1] }
"lr_groups.backbone" = { log = [1e-3, 1e-1] }
"optimizer.name" = ["adamw"]
[data.split]
validation = 0.3
"""


def recipe(folder: Path, text: str = SEARCH, *, seeds: str = "[0, 1]") -> Path:
    path = folder / "toy.toml"
    head = f'name = "toy"\nseeds = {seeds}\nprecision = "float32"\n'  # nothing is measured
    path.write_text(TOY_RECIPE.replace('name = "toy"\n', head, 1) + text)
    return path


class Copied(Observer):
    """Copies the runs of a search as they lie on the disk after an epoch, which is what a process that is killed there leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trial = folder, ""

    def note(self, text: str) -> None:
        self.trial = text.partition(" of")[0]

    def epoch(self, epoch: Epoch) -> None:
        if self.trial == "trial 2" and epoch.epoch == 1:
            shutil.copytree(self.folder / "runs", self.folder / "killed")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a recipe whose search is done; tests only read it."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield api.apply(recipe(folder), runs=folder / "runs", observer=Copied(folder)).folder


def search_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "search.json").read_text())


def values_of(folder: Path) -> list[dict[str, Any]]:
    return [each["values"] for each in search_of(folder)["trials"]]


def validation(folder: Path) -> list[float]:
    """The validation accuracy of each epoch of a run."""
    return [line["validation"]["accuracy"] for line in epoch_lines.read(folder)]


def test_trials_are_runs_and_the_first_is_the_recipe_as_written(searched: Path) -> None:
    trials, result = search_of(searched)["trials"], json.loads((searched / "result.json").read_text())
    assert len(trials) == len({each["folder"] for each in trials}) == 4
    assert trials[0]["folder"] == result["arms"]["main"]["seeds"]["0"]["folder"]
    assert trials[0]["values"] == {"lr_groups.head": 1e-2, "lr_groups.backbone": 1e-2, "optimizer.name": "adamw"}
    for each in trials:
        run = run_folder.read(searched / each["folder"])
        assert (run.status, run.seed) == ("finished", 0)
        assert each["value"] == max(validation(searched / each["folder"]))
        assert f"head = {each['values']['lr_groups.head']}" in (searched / each["folder"] / "recipe.toml").read_text()


def test_best_trial_is_trained_with_all_seeds_and_is_a_row(searched: Path) -> None:
    record, result = search_of(searched), json.loads((searched / "result.json").read_text())
    best = max(record["trials"], key=lambda each: (each["value"], -each["loss"]))
    assert record["best"] == best["number"] != 0
    assert list(result["arms"]) == ["main", "main-best"]
    assert result["arms"]["main-best"]["seeds"]["0"]["folder"] == best["folder"]
    assert set(result["arms"]["main-best"]["seeds"]) == {"0", "1"}
    assert result["search"] == record
    assert result["superseded"] == []


def test_finished_search_imports_neither_torch_nor_optuna(searched: Path, tmp_path: Path) -> None:
    code = f"""
sys.path.insert(0, {str(TOY)!r})
from tlkit import api
assert not api.apply({str(searched.parents[1] / "toy.toml")!r}, runs={str(searched.parent)!r}).changed
"""
    assert not loaded_by(code, cwd=tmp_path) & (HEAVY | {"optuna"})


@pytest.mark.usefixtures("undrawn")
def test_more_trials_are_added_and_none_is_trained_again(searched: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(searched.parent, runs)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("toy/*/metrics.jsonl")}
    path = recipe(tmp_path)
    done = api.apply(path, "search.trials=6", runs=runs)
    assert done.changed
    assert values_of(done.folder)[:4] == values_of(searched)
    assert len(values_of(done.folder)) == 6
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert not api.apply(path, "search.trials=5", runs=runs).changed
    assert not api.apply(path, ["search.trials=9", "search.timeout=0.01s"], runs=runs).changed  # the trials took longer
    shutil.rmtree(done.folder / next(each["folder"] for each in search_of(done.folder)["trials"] if not _kept(done, each)))
    assert not api.apply(path, "search.trials=6", runs=runs).changed


def _kept(done: api.Applied, trial: dict[str, Any]) -> bool:
    """Whether a trial's run is in the table of results."""
    return any(run["folder"] == trial["folder"] for arm in done.result["arms"].values() for run in run_folder.runs_of(arm))


def test_table_shows_the_best_first_and_what_matters(searched: Path) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(search_table.result(search_of(searched)))
    lines = captured.get().splitlines()
    record = search_of(searched)
    assert lines[2].split()[:2] == [str(record["best"]), "best"]
    assert [line for line in lines if "as written" in line]
    assert any(line.startswith("importance") and "so few trials" in line for line in lines)
    assert any(line.startswith("best       main-best: lr_groups.head = ") for line in lines)


def test_report_names_the_best_trial_and_compares_it(searched: Path) -> None:
    arms = page_runs.by_arm(page_runs.read(page_runs.find([searched])))
    assert {each.name: len(each.runs) for each in arms} == {"main": 2, "main-best": 2}
    text = (searched / "report.html").read_text()
    assert '<section id="search">' in text
    assert "main-best - main" in text or "main - main-best" in text
    assert text.count('<th scope="row">0 (as written)</th>') == 1
    record = json.loads((searched / "result.json").read_text()) | {"baseline": "main"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_runs.results, "read", lambda folder: record)
        assert page_runs.baseline(arms) == "main"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {toy!r})
from tlkit import api
from tlkit.events import Observer

class Killed(Observer):
    trial = None
    def note(self, text):
        self.trial = text.partition(" of")[0]
    def epoch(self, epoch):
        if self.trial == "trial 2" and epoch.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

api.apply({recipe!r}, runs={runs!r}, observer=Killed())
"""


@pytest.mark.usefixtures("undrawn")
def test_killed_search_goes_on_with_the_values_of_one_that_was_not(searched: Path, tmp_path: Path) -> None:
    path, runs = recipe(tmp_path), tmp_path / "runs"
    shutil.copytree(searched.parents[1] / "killed", runs)
    assert len(values_of(runs / "toy")) == 2
    seen = _Labels()
    folder = api.apply(path, runs=runs, observer=seen).folder
    assert any("continues after epoch 1" in line for line in seen.notes)
    whole, mine = (
        [(each["values"], each["value"], each["folder"]) for each in search_of(each)["trials"]] for each in (searched, folder)
    )
    assert whole == mine


@pytest.mark.slow
def test_killed_search_with_hyperband_goes_on_with_the_values_of_one_that_was_not(tmp_path: Path) -> None:
    """What hyperband prunes depends on the brackets of earlier trials, which the journal must keep."""
    text = SEARCH.replace('pruner = "none"', 'pruner = "hyperband"').replace("trials = 4", "trials = 6")
    found = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        path, runs = recipe(tmp_path / name, text, seeds="[0]"), tmp_path / name / "runs"
        if name == "killed":
            code = KILLED.format(toy=str(TOY), recipe=str(path), runs=str(runs))
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == -9, done.stderr
        folder = api.apply(path, runs=runs).folder
        found.append([(each["values"], each["value"], each["status"], each["epochs"]) for each in search_of(folder)["trials"]])
    assert found[0] == found[1]


class _Labels(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0

    def epoch(self, epoch: Epoch) -> None:
        self.epochs += 1


@pytest.mark.usefixtures("undrawn")
def test_pruned_trial_says_so_and_is_not_the_best(tmp_path: Path) -> None:
    """MedianPruner, worked out by hand: after five trials, one whose best score so far is below the median of theirs ends."""
    rates = ", ".join(f"{{ backbone = {rate}, head = {rate} }}" for rate in (0.01, 0.011, 0.012, 0.013, 0.014, 1e-9))
    space = f'[search]\nsampler = "grid"\npruner = "median"\ntrials = 7\n[search.space]\n"lr_groups" = [{rates}]\n'
    path = recipe(tmp_path, f"{space}[data.split]\nvalidation = 0.3\n", seeds="[0]")
    done = api.apply(path, "schedule.epochs=3", runs=tmp_path / "runs")
    trials = search_of(done.folder)["trials"]
    assert [each["status"] for each in trials[:5]] == ["finished"] * 5
    last = trials[5]
    assert last["values"] == {"lr_groups": {"backbone": 1e-9, "head": 1e-9}}
    first = [validation(done.folder / each["folder"])[0] for each in trials[:5]]
    assert validation(done.folder / last["folder"])[0] < sorted(first)[2]
    run = run_folder.read(done.folder / last["folder"])
    assert (run.status, run.epochs, last["status"], last["epochs"]) == ("pruned", 1, "pruned", 1)
    assert (done.folder / last["folder"] / "weights.safetensors").is_file()
    assert len(trials) == 6  # the grid has no other
    assert search_of(done.folder)["exhausted"]
    assert not api.apply(path, "schedule.epochs=3", runs=tmp_path / "runs").changed


@pytest.mark.usefixtures("undrawn")
def test_row_of_the_recipe_as_written_has_the_rate_that_auto_came_to(tmp_path: Path) -> None:
    space = (
        '[search]\ntrials = 1\n[search.space]\n"lr_groups.head" = { log = [1e-8, 1e-7] }\n"optimizer.weight_decay" = [0.5]\n'
    )
    path = recipe(tmp_path, f"{space}[data.split]\nvalidation = 0.3\n", seeds="[0]")
    asked = search_plan.planned(resolve.load(path, ['lr_groups.head="auto"'], Places(recipe=tmp_path))[0])
    assert asked is not None
    done = api.apply(path, ['lr_groups.head="auto"', "schedule.epochs=1"], runs=tmp_path / "runs")
    (trial,) = search_of(done.folder)["trials"]
    rate = run_folder.resolved(done.folder / trial["folder"])["rates"]["head"]
    assert (trial["values"], trial["outside"]) == ({}, {"lr_groups.head": rate, "optimizer.weight_decay": 0.01})
    for shown, words in ((search_table.result(search_of(done.folder)), f" {rate} "), (search_table.space(asked), ' "auto" ')):
        console = Console(width=200)
        with console.capture() as captured:
            console.print(shown)
        assert words in captured.get()


@pytest.mark.usefixtures("undrawn")
def test_trial_that_fails_and_one_that_was_there_are_told(tmp_path: Path) -> None:
    space = '[search]\nsampler = "grid"\n[search.space]\n"lr_groups.head" = [1e-2, 1e30]\n"optimizer.weight_decay" = [0.01, 0.010]\n'
    with pytest.raises(TlkitError, match=r"has 0\.01 twice"):
        api.apply(recipe(tmp_path, f"{space}[data.split]\nvalidation = 0.3\n"), runs=tmp_path / "runs")
    space = space.replace("[0.01, 0.010]", '{ values = [0.01], when = { "lr_groups.head" = 1e30 } }')
    path = recipe(tmp_path, f"{space}[data.split]\nvalidation = 0.3\n", seeds="[0]")
    seen = _Labels()
    done = api.apply(path, runs=tmp_path / "runs", observer=seen)
    trials = search_of(done.folder)["trials"]
    assert [each["status"] for each in trials] == ["finished", "failed"]
    assert "not a number" in trials[1]["error"] or "not numbers" in trials[1]["error"]
    assert done.failures == ()
    assert any("trial 1 of 2: " in line for line in seen.notes)
    assert list(done.result["arms"]) == ["main"]  # the recipe as written is the best


@pytest.mark.usefixtures("undrawn")
def test_trial_whose_weights_do_not_fit_ends_no_search(tmp_path: Path) -> None:
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    space = '[search]\nsampler = "grid"\n[search.space]\n"backbone.weights" = ["none", "other.safetensors"]\n'
    done = api.apply(recipe(tmp_path, f"{space}[data.split]\nvalidation = 0.3\n", seeds="[0]"), runs=tmp_path / "runs")
    trials = search_of(done.folder)["trials"]
    assert [each["status"] for each in trials] == ["finished", "failed"]
    assert "other.safetensors" in trials[1]["error"]
    assert not api.apply(tmp_path / "toy.toml", runs=tmp_path / "runs").changed


def test_every_epoch_is_in_the_journal(searched: Path) -> None:
    """Whether a process trains a trial or finds its finished run, the pruner knows the same of it."""
    backend = optuna.storages.journal.JournalFileBackend(str(searched / "search.journal"))
    study = optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name=search_of(searched)["study"])
    for mine, trial in zip(search_of(searched)["trials"], study.trials, strict=True):
        assert list(trial.intermediate_values.values()) == validation(searched / mine["folder"])
        assert trial.value == mine["value"]


def test_without_the_extra_apply_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_jobs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TlkitError, match=r"pip install 'tlkit\[search\]'"):
        api.apply(recipe(tmp_path), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("undrawn")
def test_search_of_an_arm_that_is_not_asked_for_waits(tmp_path: Path) -> None:
    path = recipe(tmp_path, f"{SEARCH.replace('trials = 4', 'trials = 1')}[arms.a]\n[arms.b]\nfreeze = {{ backbone = true }}\n")
    path.write_text(path.read_text().replace("[search]", '[search]\narm = "a"'))
    done = api.apply(path, arm="b", runs=tmp_path / "runs")
    assert not (done.folder / "search.json").exists()
    done = api.apply(path, runs=tmp_path / "runs")
    assert (list(done.result["arms"]), search_of(done.folder)["best"]) == (["a", "b"], 0)


@pytest.mark.usefixtures("undrawn")
def test_search_that_another_process_carries_out_is_left_alone(searched: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    shutil.copytree(searched.parent, tmp_path / "runs")
    with FileLock(tmp_path / "runs" / "toy" / ".search.lock"), pytest.raises(RunLocked, match="another process is searching"):
        api.apply(recipe(tmp_path), "search.trials=6", runs=tmp_path / "runs")
    assert os.listdir(tmp_path / "runs" / "toy")
